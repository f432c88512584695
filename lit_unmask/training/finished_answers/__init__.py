"""Learning from finished answers: labels for single states, without rewards."""

from lit_unmask.training.finished_answers.labelling import Labeller
from lit_unmask.training.finished_answers.settings import FinishedAnswers
from lit_unmask.training.finished_answers.teacher import Lessons, Teacher, check_data, hired
