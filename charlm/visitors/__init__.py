"""Runs, trainings and models as one visitor of a public Space meets them: own and shipped ones only, within limits."""

from charlm.visitors.jobs import VisitorJobs
from charlm.visitors.runs import VisitorRuns
from charlm.visitors.serving import VisitorServing

__all__ = ["VisitorJobs", "VisitorRuns", "VisitorServing"]
