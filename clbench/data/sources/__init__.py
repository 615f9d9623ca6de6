"""Data sets: one file per kind; a configuration node in `conf/scenario/dataset` names one of these classes.

To add a data set of an existing kind (such as another set of torchvision), write `conf/scenario/dataset/NAME.yaml` like
`mnist.yaml` and add a row to `EXPECTED` in `tests/data/test_real.py`; `conf/scenario/split_NAME.yaml` is optional.
`clbench scenario=split scenario/dataset=NAME` then runs it, and the tests of all nodes in `tests/data/test_conf.py` include it.
"""

from clbench.data.sources.addresses import Addresses
from clbench.data.sources.base import Data, Source
from clbench.data.sources.corpora import Sections, Sentiment
from clbench.data.sources.digits import Digits
from clbench.data.sources.folder import Folder
from clbench.data.sources.frozen_features import Features
from clbench.data.sources.npz import Npz
from clbench.data.sources.people_questions import Questions
from clbench.data.sources.prose import Prose
from clbench.data.sources.question_folder import ChoiceFolder, DomainFolder, QuestionFolder
from clbench.data.sources.scrambled import Scrambled
from clbench.data.sources.text import Text
from clbench.data.sources.text_folder import TextFolder
from clbench.data.sources.vision import Vision

__all__ = [
    "Addresses",
    "ChoiceFolder",
    "Data",
    "Digits",
    "DomainFolder",
    "Features",
    "Folder",
    "Npz",
    "Prose",
    "QuestionFolder",
    "Questions",
    "Scrambled",
    "Sections",
    "Sentiment",
    "Source",
    "Text",
    "TextFolder",
    "Vision",
]
