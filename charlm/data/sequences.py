"""Files that are lists by their format: FASTA (sequences under headers) and .smi (SMILES, each with a name)."""

import re

FASTA = (".fasta", ".fa", ".fas", ".faa", ".ffn", ".fna", ".frn")
SMILES = (".smi", ".smiles", ".ism")
KINDS = (*FASTA, *SMILES)
_SEQUENCE = re.compile(r"[A-Za-z*.\-]*\s*")  # IUPAC's letters, gaps and stops
# OpenSMILES: the organic subset, other atoms in brackets, bonds, branches, rings.
_MOLECULE = re.compile(r"(?:Br|Cl|[BCNOPSFIbcnops*]|\[[^\[\]\s]{1,40}\]|[-=#$:/\\.~()]|%\d\d|\d)+")
_TITLE = re.compile(r"(?:canonical_?|isomeric_?)?smiles", re.IGNORECASE)


def listed_sequences(text: str, suffix: str) -> tuple[list[str], str] | None:
    """The items of a FASTA or a .smi file.

    Args:
        text: of the file.
        suffix: of its name, in lower case.

    Returns:
        The items, and what was left out; None if name or content say that it is neither.
    """
    if suffix in FASTA:
        return _fasta(text)
    return _smiles(text) if suffix in SMILES else None


def _fasta(text: str) -> tuple[list[str], str] | None:
    """Each record's lines as one; the lines that begin with > or, as once, ; are no part of them."""
    records: list[list[str]] = []
    headers = 0
    for line in text.splitlines():
        if line.startswith((">", ";")):
            headers += 1
            records.append([])
        elif (not records and line.strip()) or not _SEQUENCE.fullmatch(line):
            return None
        elif records:
            records[-1].append(line.strip())
    sequences = [sequence for lines in records if (sequence := "".join(lines))]
    left_out = f"{headers:,} header line{'s' if headers > 1 else ''} left out"
    said = f"FASTA: {len(sequences):,} sequence{'s' if len(sequences) > 1 else ''}, {left_out}"
    return (sequences, said) if sequences else None


def _smiles(text: str) -> tuple[list[str], str] | None:
    """The first word of each line, unless it is a header."""
    rows = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    left_out = "header line and " if rows and _TITLE.fullmatch(rows[0][0]) else ""
    rows = rows[1:] if left_out else rows
    if not rows or not all(_MOLECULE.fullmatch(row[0]) for row in rows):
        return None
    named = sum(len(row) > 1 for row in rows)
    return [row[0] for row in rows], f"SMILES: {len(rows):,} molecules, {left_out}{named:,} names left out"
