"""Ways to keep a network plastic, one file each, how they are composed, and schedules for their settings."""

from .c_chain import CChain
from .chain import Chain
from .continual_backprop import ContinualBackprop
from .dash import DASH
from .ema import EMA
from .fire import FIRE
from .from_scratch import FromScratch
from .full_reset import FullReset
from .hare_tortoise import HareTortoise
from .head_reset import HeadReset
from .intervals import geometric, portion, switch
from .l2 import L2
from .l2_init import L2Init
from .last_layers_reset import LastLayersReset
from .method import Batches, Change, Loss, Method
from .normalize_and_project import NormalizeAndProject
from .optimizer_reset import OptimizerReset
from .parseval import Parseval
from .plasticity_injection import PlasticityInjection
from .redo import ReDo
from .regrama import ReGraMa
from .schedules import Schedule, horizon, karras, power_law, warmup
from .self_distillation import SelfDistillation
from .self_normalized_reset import SelfNormalizedReset
from .shrink_perturb import ShrinkPerturb
from .soft_shrink_perturb import SoftShrinkPerturb
from .soft_weight_rescaling import SoftWeightRescaling
from .spectral_decoupling import SpectralDecoupling
from .spectral_normalization import SpectralNormalization
from .spectral_regularization import SpectralRegularization
from .switch_ema import SwitchEMA
from .warm_start import WarmStart
from .wasserstein_init import WassersteinInit
from .weight_clipping import WeightClipping

__all__ = [
    "DASH",
    "EMA",
    "FIRE",
    "L2",
    "Batches",
    "CChain",
    "Chain",
    "Change",
    "ContinualBackprop",
    "FromScratch",
    "FullReset",
    "HareTortoise",
    "HeadReset",
    "L2Init",
    "LastLayersReset",
    "Loss",
    "Method",
    "NormalizeAndProject",
    "OptimizerReset",
    "Parseval",
    "PlasticityInjection",
    "ReDo",
    "ReGraMa",
    "Schedule",
    "SelfDistillation",
    "SelfNormalizedReset",
    "ShrinkPerturb",
    "SoftShrinkPerturb",
    "SoftWeightRescaling",
    "SpectralDecoupling",
    "SpectralNormalization",
    "SpectralRegularization",
    "SwitchEMA",
    "WarmStart",
    "WassersteinInit",
    "WeightClipping",
    "geometric",
    "horizon",
    "karras",
    "portion",
    "power_law",
    "switch",
    "warmup",
]
