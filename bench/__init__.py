"""Programs that measure, each with the thing it is compared with, in one run."""
