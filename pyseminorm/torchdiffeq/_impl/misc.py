"""torchdiffeq's module of this name: its norms."""

from .. import tensor_norms

_linf_norm = tensor_norms.linf_norm
_mixed_norm = tensor_norms.mixed_norm
_rms_norm = tensor_norms.rms_norm
_zero_norm = tensor_norms.zero_norm
