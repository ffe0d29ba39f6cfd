"""The model of a run as it was before its training."""

from charlm.data.dataset import dataset_of
from charlm.errors import CorpusError, MeasurementError
from charlm.models import LanguageModel, build_model
from charlm.runs.resume import text_of
from charlm.runs.run import Run


def initial_model(run: Run) -> LanguageModel:
    """What a run began with: its snapshot of step 0, else the weights made again from its seed, settings and text.

    Raises:
        MeasurementError: it cannot be made again.
        CheckpointError: the snapshot or the tokenizer is damaged.
    """
    if any(parent["why"] == "fork" for parent in run.ancestry):
        parent = run.ancestry[-1]["label"] or "another run"
        raise MeasurementError(
            f"{run.label} began with weights of {parent}, not with random ones; see that run, or train a new one"
        )
    if run.snapshots()[:1] == [0]:
        return run.load_snapshot(0)
    if run.imported:
        raise MeasurementError(
            f"{run.label} was trained elsewhere, and came without the weights that it began with; train a run here"
        )
    if run.model_config.is_counted:
        raise MeasurementError(f"{run.label} is an n-gram, which begins with no counts at all; choose a network")
    try:
        corpus = text_of(run)
    except CorpusError as error:
        raise MeasurementError(f"the weights that {run.label} began with need its text: {error}") from error
    tokenizer = run.tokenizer()
    dataset = dataset_of(tokenizer, corpus, run.train_config, run.corpus_config)
    model = build_model(run.model_config, run.train_config.seed)
    model.init_output_bias(dataset.counts(tokenizer.vocab_size))
    return model.requires_grad_(False).eval()
