"""What a CLIP model thinks a picture shows: the edited thing, the old one, or something else."""

import math
from pathlib import Path

from holdfast.errors import HoldfastError

# CLIP's own temperature: the cosines of its pictures and texts differ in the second decimal (Radford et al. 2021).
SCALE = 100.0


class Clip:
    """An open_clip model in a local folder, as any checkpoint of open_clip's `local-dir:` schema.

    `local-dir:` takes architecture, preprocessing and tokenizer from the folder's own open_clip_config.json; a bare
    checkpoint path would silently take the architecture's defaults.
    """

    def __init__(self, scorer_dir, device="cpu", batch_size=64):
        """Load the model.

        Args:
            scorer_dir: folder with open_clip_config.json, open_clip_model.safetensors and the tokenizer's files.
            device: where it computes, in float32.
            batch_size: pictures or texts per pass.
        """
        scorer_dir = Path(scorer_dir)
        for name in ("open_clip_config.json", "open_clip_model.safetensors"):
            if not (scorer_dir / name).is_file():
                raise HoldfastError(f"{scorer_dir} is no open_clip model (it has no {name}); run `snakemake download`.")
        from holdfast.compat import ensure_torchvision, fast_imports

        with fast_imports():
            ensure_torchvision()
            import open_clip

        source = f"local-dir:{scorer_dir}"
        try:
            self._model, _, self._preprocess = open_clip.create_model_and_transforms(source, device=device)
            self._tokenize = open_clip.get_tokenizer(source)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise HoldfastError(
                f"{scorer_dir} can't be loaded as an open_clip model ({error}); delete it and run `snakemake download`."
            ) from error
        self._model.eval().requires_grad_(False)
        self._device = device
        self._batch_size = batch_size
        self._texts = {}

    def score(self, images, probes, pool=()):
        """Measure pictures against their probes' texts.

        With p the softmax of 100 times the cosines over (old, new) (Arad et al. 2024, section 5.1):
        `efficacy`, on efficacy and generality probes: 1 where p(new) > p(old), else 0;
        `specificity`, on specificity probes: 1 where p(old) >= p(new), else 0;
        `p_target`: p(new);
        `clip_score`: 100 times the cosine to the prompt (not cut off at 0);
        `clip_target`, `clip_source`, `clip_other`: 1 for the one that the picture is nearest to among new, old and the
        texts of the pool, 0 for the other two.

        Args:
            images: uint8 array or Tensor [N, H, W, 3].
            probes: N probes, one for each picture.
            pool: texts of other things that a picture may have turned into. Those equal to old or new don't count.

        Returns:
            [(row, measure, value), ...] in the order of the pictures.
        """
        import torch

        if len(images) != len(probes):
            raise HoldfastError(f"{len(images)} pictures came with {len(probes)} probes; give one probe per picture.")
        pool = list(dict.fromkeys(pool))
        self._encode_texts([*pool, *(text for probe in probes for text in (probe.prompt, probe.old, probe.new))])
        features = self._encode_images(images)
        rivals = torch.stack([self._texts[text] for text in pool]) if pool else features.new_zeros(0, features.shape[1])
        rival_cosines = features @ rivals.T
        rows = []
        for row, probe in enumerate(probes):
            texts = probe.old, probe.new, probe.prompt
            old, new, prompt = (float(features[row] @ self._texts[text]) for text in texts)
            p_target = 1 / (1 + math.exp(SCALE * (old - new)))
            if probe.role == "specificity":
                rows.append((row, "specificity", float(old >= new)))
            else:
                rows.append((row, "efficacy", float(new > old)))
            own = {_plain(probe.old), _plain(probe.new)}
            cosines = zip(pool, rival_cosines[row].tolist(), strict=True)
            other = max((cosine for text, cosine in cosines if _plain(text) not in own), default=-math.inf)
            nearest = "other" if other > max(old, new) else "target" if new > old else "source"
            rows += [(row, "p_target", p_target), (row, "clip_score", SCALE * prompt)]
            rows += [(row, f"clip_{name}", float(name == nearest)) for name in ("target", "source", "other")]
        return rows

    def nearest(self, images, choices):
        """Which of its own texts every picture is nearest to (zero-shot classification, Radford et al. 2021, 3.1).

        Args:
            images: uint8 array or Tensor [N, H, W, 3].
            choices: N sequences of texts.

        Returns:
            [index of the text, ...]
        """
        import torch

        self._encode_texts([text for texts in choices for text in texts])
        features = self._encode_images(images)
        return [
            int((torch.stack([self._texts[text] for text in texts]) @ feature).argmax())
            for feature, texts in zip(features, choices, strict=True)
        ]

    def _encode_texts(self, texts):
        """Compute the unit features of texts that were not met before."""
        import torch

        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        with torch.no_grad():
            for start in range(0, len(new), self._batch_size):
                batch = new[start : start + self._batch_size]
                features = self._model.encode_text(self._tokenize(batch).to(self._device), normalize=True)
                self._texts.update(zip(batch, _checked(features), strict=True))

    def _encode_images(self, images):
        """Unit features [N, d] of uint8 pictures, preprocessed as the model's own config says."""
        import torch
        from PIL import Image

        pixels = torch.as_tensor(images).cpu().numpy()
        features = []
        with torch.no_grad():
            for start in range(0, len(pixels), self._batch_size):
                batch = pixels[start : start + self._batch_size]
                batch = torch.stack([self._preprocess(Image.fromarray(picture)) for picture in batch])
                features.append(_checked(self._model.encode_image(batch.to(self._device), normalize=True)))
        return torch.cat(features)


def _checked(features):
    """Features in float32 on the CPU; HoldfastError where some are NaN, which would silently count as `source`."""
    features = features.float().cpu()
    if not features.isfinite().all():
        raise HoldfastError(
            "The CLIP scorer gave NaN features: its weights are damaged; delete its folder, download it."
        )
    return features


def _plain(text):
    return " ".join(text.casefold().split())
