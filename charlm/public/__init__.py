"""Everything about a shared server: who asks, what they may use and have used, and what is kept from them."""

from charlm.public.visitor import VisitorJobs, VisitorRuns, VisitorServing, VisitorTexts

__all__ = ["VisitorJobs", "VisitorRuns", "VisitorServing", "VisitorTexts"]
