"""Data that changes: sources, and the scenarios that make streams of them."""

from .augment import AUGMENTATIONS as AUGMENTATIONS
from .augment import crop as crop
from .augment import crop_flip as crop_flip
from .augment import flip as flip
from .augment import per_batch as per_batch
from .examples import Augment as Augment
from .examples import Examples as Examples
from .examples import Prepare as Prepare
from .examples import TensorExamples as TensorExamples
from .label_noise import noisy_labels as noisy_labels
from .loader import LoaderExamples as LoaderExamples
from .prepare import Normalise as Normalise
from .prepare import Rescale as Rescale
from .scenarios import SCENARIOS as SCENARIOS
from .scenarios import growing as growing
from .scenarios import limited as limited
from .scenarios import warm_start as warm_start
from .seeding import derived_generator as derived_generator
from .source import Source as Source
from .sources import SOURCES as SOURCES
from .sources import load_source as load_source
from .stream import Chunk as Chunk
from .stream import Stream as Stream
from .stream import Task as Task
from .transformed import TransformedExamples as TransformedExamples
