"""Keep neural networks able to learn: Hare & Tortoise and the methods it is compared with."""

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .methods import (
        DASH,
        EMA,
        FIRE,
        L2,
        Batches,
        CChain,
        Chain,
        Change,
        ContinualBackprop,
        FromScratch,
        FullReset,
        HareTortoise,
        HeadReset,
        L2Init,
        LastLayersReset,
        Loss,
        Method,
        NormalizeAndProject,
        OptimizerReset,
        Parseval,
        PlasticityInjection,
        ReDo,
        ReGraMa,
        Schedule,
        SelfDistillation,
        SelfNormalizedReset,
        ShrinkPerturb,
        SoftShrinkPerturb,
        SoftWeightRescaling,
        SpectralDecoupling,
        SpectralNormalization,
        SpectralRegularization,
        SwitchEMA,
        WarmStart,
        WassersteinInit,
        WeightClipping,
        geometric,
        horizon,
        karras,
        portion,
        power_law,
        switch,
        warmup,
    )
else:
    # Loaded when first used, so that the command line answers --help and --version without waiting for torch.
    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import methods

        return getattr(methods, name)

    def __dir__():
        return sorted({*globals(), *__all__})


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
    "__version__",
    "geometric",
    "horizon",
    "karras",
    "portion",
    "power_law",
    "switch",
    "warmup",
]
