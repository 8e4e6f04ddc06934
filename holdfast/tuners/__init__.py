"""Fine-tuning methods by name. Adding a tuner is adding one module with a function `tune`, and one line here."""

from holdfast.tuners import dora, dreambooth, full, lora

TUNERS = {"lora": lora.tune, "dora": dora.tune, "full": full.tune, "dreambooth": dreambooth.tune}
