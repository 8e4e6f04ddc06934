"""The training loop: order, schedule, and checkpoints that lose nothing."""

import pytest
import torch

from holdfast.errors import HoldfastError
from holdfast.tuners import loop


def _train(steps=7, snapshots=(3, 7), identity="this run", **options):
    """A little regression whose every step is random; returns (what `train` returns, steps that were computed)."""
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 6).reshape(2, 3))
    computed = []

    def loss_of(step):
        computed.append(step)
        x = torch.randn(4, 3, generator=loop.generator(0, "step", step))
        return (x @ weight.T - x[:, :2]).square().mean()

    options = {"learning_rate": 0.1, "device": "cpu", "dtype": torch.float32, **options}
    kept = loop.train({"w": weight}, loss_of, steps=steps, snapshots=snapshots, identity=identity, **options)
    return kept, computed


class _Killed(Exception):
    pass


def _kill_after(steps):
    done = []

    def progress(n):
        done.append(n)
        if sum(done) == steps:
            raise _Killed

    return progress


@pytest.mark.parametrize("kill", [1, 2, 5])
def test_a_killed_and_resumed_run_is_bit_equal_to_an_unkilled_one(tmp_path, kill):
    whole, _ = _train()
    options = {"checkpoint_dir": tmp_path, "checkpoint_every": 2}
    with pytest.raises(_Killed):
        _train(progress=_kill_after(kill), **options)
    resumed, computed = _train(**options)
    assert computed == list(range(kill - kill % 2 + 1, 8))
    assert {step: tensors["w"].numpy().tobytes() for step, tensors in resumed.items()} == {
        step: tensors["w"].numpy().tobytes() for step, tensors in whole.items()
    }
    again, computed = _train(**options)
    assert computed == [] and torch.equal(again[3]["w"], whole[3]["w"])


def test_a_foreign_or_damaged_checkpoint_is_not_resumed(tmp_path, caplog):
    whole, _ = _train()
    _train(checkpoint_dir=tmp_path, identity="another run")
    assert _train(checkpoint_dir=tmp_path)[1] == list(range(1, 8))
    path = tmp_path / loop.CHECKPOINT
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    kept, computed = _train(checkpoint_dir=tmp_path)
    assert computed == list(range(1, 8)) and torch.equal(kept[7]["w"], whole[7]["w"])
    assert "damaged" in caplog.text


def test_batches_go_through_every_picture_equally_often_in_changing_order():
    n, size = 5, 3
    stream = torch.cat([loop.batch_of(step, n, size, seed=1) for step in range(1, 11)]).tolist()
    epochs = [stream[start : start + n] for start in range(0, 30, n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert loop.batch_of(1, 2, 7, seed=1).bincount().tolist() in ([3, 4], [4, 3])
    assert stream != torch.cat([loop.batch_of(step, n, size, seed=2) for step in range(1, 11)]).tolist()


def test_generators_of_different_purposes_differ():
    draws = {
        torch.randn(1, generator=loop.generator(*key)).item()
        for key in [(0, "step", 1), (0, "epoch", 1), (1, "step", 1)]
    }
    assert len(draws) == 3


@pytest.mark.parametrize("snapshots", [[0, 3], [3, 8]])
def test_snapshots_must_lie_within_the_training(snapshots):
    with pytest.raises(HoldfastError, match="don't fit a training of 7 steps"):
        loop.check_schedule(7, snapshots)
    assert loop.check_schedule(7, [7, 2, 2]) == [2, 7] and loop.check_schedule(7, None) == [7]


def test_half_precision_training_is_refused():
    with pytest.raises(HoldfastError, match="float32 or bfloat16"):
        _train(dtype=torch.float16)
