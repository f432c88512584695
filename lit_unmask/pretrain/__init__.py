"""Training of small denoisers from scratch."""

from lit_unmask.pretrain.data import DemonstrationData, Part
from lit_unmask.pretrain.export import Export, HeldOut
from lit_unmask.pretrain.module import LitPretrain, NetworkSize, PretrainOptimizer
from lit_unmask.pretrain.vocabulary import DreamVocabulary, LLaDAVocabulary
