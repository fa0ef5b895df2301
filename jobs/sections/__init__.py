"""The sections of a study: every setting that decides its results, validated, with unknown keys refused."""

from jobs.sections.base import Section, hint, registered
from jobs.sections.correlate import CorrelateSection
from jobs.sections.intervention import InterventionSection
from jobs.sections.model import CaptureSection, ModelSection, ParallelSection
from jobs.sections.networks import GamesSection, PopulationSection, ProbeSection
from jobs.sections.sae import SAESection
from jobs.sections.search import SearchSection
from jobs.sections.signals import SignalsSection
from jobs.sections.task import FEWEST_ROLLOUTS, TaskSection
from jobs.sections.welfare import ConceptsSection, SteeringSection, TrainingSection

__all__ = [
    "FEWEST_ROLLOUTS",
    "CaptureSection",
    "ConceptsSection",
    "CorrelateSection",
    "GamesSection",
    "InterventionSection",
    "ModelSection",
    "ParallelSection",
    "PopulationSection",
    "ProbeSection",
    "SAESection",
    "SearchSection",
    "Section",
    "SignalsSection",
    "SteeringSection",
    "TaskSection",
    "TrainingSection",
    "hint",
    "registered",
]
