"""Learning rate, momentum and batch size as functions of the time in a run; a configuration names the classes here."""

from src.schedules.by_epoch import Cosine, Exponential, GrowBatch, Step
from src.schedules.by_update import CosineByUpdate, Polynomial, Trapezoid
from src.schedules.schedule import Schedule

Schedule.__module__ = __name__  # as configurations and users name it

__all__ = ["Cosine", "CosineByUpdate", "Exponential", "GrowBatch", "Polynomial", "Schedule", "Step", "Trapezoid"]
