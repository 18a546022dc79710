"""One run. Lightning is imported the quick way before any other module imports a part of it."""

from src.training import lightning as lightning
