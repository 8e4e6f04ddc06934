"""Training a network's own weights, which are as they were when the block ends."""

import contextlib

from holdfast.errors import HoldfastError


class Dense:
    """All weights of a site as trainable parameters; its `attached` goes to `training.run`.

    They train in float32 whatever the precision they were loaded in: steps of a fine-tuning's size round away in less.
    """

    def __init__(self):
        self._originals = {}

    @contextlib.contextmanager
    def attached(self, modules):
        """Yield `{component}.{path}.weight|bias` -> trainable float32 Parameter; put the old values back at the end."""
        import torch

        dtypes = {component: module.dtype for component, module in modules.items()}
        state = {component: _copies(module.state_dict()) for component, module in modules.items()}
        try:
            parameters = {}
            for component, module in modules.items():
                # torch's own method: that of diffusers' models warns about lists of modules that are empty.
                torch.nn.Module.to(module, torch.float32).requires_grad_(True)
                parameters.update({f"{component}.{name}": value for name, value in module.named_parameters()})
            odd = next((name for name in parameters if not name.endswith((".weight", ".bias"))), None)
            if odd:
                raise HoldfastError(f"Dense tuning can't store the parameter {odd}: take lora or dora for this model.")
            self._originals = _copies(parameters)
            yield parameters
        finally:
            with torch.no_grad():
                for component, module in modules.items():
                    module.requires_grad_(False)
                    torch.nn.Module.to(module, dtypes[component])
                    for parameter in module.parameters():
                        parameter.grad = None
                    module.load_state_dict(state[component])

    def differences(self, kept):
        """Snapshots as what was added to the weights before training: {step: {name: new - old}}."""
        return {
            step: {name: tensor - self._originals[name] for name, tensor in tensors.items()}
            for step, tensors in kept.items()
        }


def _copies(tensors):
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
