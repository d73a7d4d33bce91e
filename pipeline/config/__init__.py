"""The configuration of a run: one strict model, from defaults, a YAML file, options and ``--set``."""

from pipeline.config.loading import gather, load_config, validate
from pipeline.config.run import UNSCIENTIFIC, RunConfig
from pipeline.config.sections import AnnotatorSection, DataSection, ModelSection, QuerySection, Section

__all__ = [
    "UNSCIENTIFIC",
    "AnnotatorSection",
    "DataSection",
    "ModelSection",
    "QuerySection",
    "RunConfig",
    "Section",
    "gather",
    "load_config",
    "validate",
]
