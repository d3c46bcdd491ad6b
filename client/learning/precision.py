"""Mixed precision on a GPU (Micikevicius et al., ICLR 2018), full precision elsewhere."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


class Precision:
    """The number format of a model's passes, and the loss scaling that float16 needs.

    bfloat16 on a GPU that has it, else float16 with loss scaling; float32 on a CPU or where it is not wanted.
    """

    def __init__(self, device: torch.device, *, wanted: bool) -> None:
        self.device = device
        self.on = wanted and device.type == "cuda"
        self.dtype = torch.bfloat16 if self.on and torch.cuda.is_bf16_supported() else torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.on and self.dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which the model runs."""
        return torch.autocast(self.device.type, self.dtype) if self.on else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the loss's gradients to those already gathered."""
        torch.autograd.backward(self.scaler.scale(loss))

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gathered gradients to their true size."""
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> bool:
        """Move the parameters; False where scaled gradients overflowed and the step was left out."""
        before = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return bool(self.scaler.get_scale() >= before)
