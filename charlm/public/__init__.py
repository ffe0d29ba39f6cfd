"""Runs, trainings and models as one visitor of a public Space meets them: own and shipped ones only, within limits."""

from charlm.public.jobs import VisitorJobs
from charlm.public.runs import VisitorRuns
from charlm.public.serving import VisitorServing

__all__ = ["VisitorJobs", "VisitorRuns", "VisitorServing"]
