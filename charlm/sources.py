"""Where the corpora of the catalog come from: addresses, sizes, fingerprints, licences."""

from dataclasses import dataclass

_GITHUB = "https://raw.githubusercontent.com"
_WIKITEXT = f"{_GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"


@dataclass(frozen=True)
class CatalogEntry:
    """One corpus of the catalog.

    Attributes:
        key: what one types.
        title: for people.
        author: who wrote it.
        year: when, as a word.
        licence: in plain words.
        filename: the file it comes from.
        size: of what is read, in bytes.
        sha256: of the file; of the extracted text for a book out of the package.
        url: where it is downloaded; "" for a book out of the package.
        book: the book's name in the package's file; "" for a download.
        begins: where the book's text begins; "" for right after the marker.
        text_sha256: of the corpus as default settings make it; "" if that is the file as it is.
        parts: keys of the entries that its training, validation and test part are; its text is one after the other,
            and has no file of its own.
        note: what a user should know before training on it.
        listed: shown in the catalog; official held-out files are only found by their key.
        language: of the text.
    """

    key: str
    title: str
    author: str
    year: str
    licence: str
    filename: str
    size: int
    sha256: str
    url: str = ""
    book: str = ""
    begins: str = ""
    text_sha256: str = ""
    parts: tuple[str, ...] = ()
    note: str = ""
    listed: bool = True
    language: str = "English"

    @property
    def about(self) -> str:
        """Origin in a line: author, year, offline or the size of the download, and the note."""
        way = "Built in, works offline" if self.book else f"{self.size / 1e6:.1f} MB to download once"
        return " ".join(filter(None, (f"{self.author}, {self.year}.", f"{way}.", self.note)))


ENTRIES = (
    CatalogEntry(
        "sherlock",
        "Sherlock Holmes",
        "Arthur Conan Doyle",
        "1892",
        "public domain; the package that holds it is MIT",
        "big.txt",
        561_676,
        "027d2288d5276046a9c6dcf3eafa18bfd9e5b9d6466a14e019c831d52879aaf8",
        book="THE ADVENTURES OF SHERLOCK HOLMES",
        begins="ADVENTURE  I.",
    ),
    CatalogEntry(
        "war-and-peace",
        "War and Peace",
        "Leo Tolstoy",
        "1869",
        "public domain; the package that holds it is MIT",
        "big.txt",
        3_202_742,
        "98c7d4554b3c30f8928b5b6fa5724fd12154b60c31e5ea8722e0ca3e5b83c023",
        book="WAR AND PEACE",
    ),
    CatalogEntry(
        "tinyshakespeare",
        "Tiny Shakespeare",
        "William Shakespeare",
        "1589-1613",
        "public domain",
        "tinyshakespeare.txt",
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        url=f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
    ),
    CatalogEntry(
        "anna",
        "Anna Karenina",
        "Leo Tolstoy",
        "1877",
        "public domain",
        "anna.txt",
        2_025_486,
        "568bb39fc78aca98e9db91c4329dcd1aa5ec4c3df3aca2064ce5d6f023ae16c9",
        text_sha256="4e2a70c8a0c90dc0b445cf47565c34bb43e6b6d5c1133d06a5dd30828aca44d5",
        url=f"{_GITHUB}/udacity/deep-learning-v2-pytorch/c9404fc86181fc3f0906b368697268257f348535/"
        "recurrent-neural-networks/char-rnn/data/anna.txt",
        note="The often cited 1,985,223 characters include Project Gutenberg's licence at the end.",
    ),
    CatalogEntry(
        "grimm",
        "Grimms' Fairy Tales",
        "Jacob and Wilhelm Grimm",
        "1812",
        "public domain; the table's own licence is not known",
        "grimms_fairytales.csv",
        529_106,
        "12dcac1aff0ed0408d2917a17b3aead92339bbad9451e687a540a696655cabb3",
        text_sha256="13ee7490b3a8704c66fe82359ac21c0c18793833d576ee890e203cc8414c6b11",
        url=f"{_GITHUB}/patrickpynadath1/automatic_cyclical_sampling/bed23ff16862eac357b973f42875a55da0d29c45/"
        "text_data/grimms_fairytales.csv",
        note="A table of 63 rows; its row 22 is the tail of row 21.",
    ),
    CatalogEntry(
        "grimm-gutenberg",
        "Grimms' Fairy Tales (Gutenberg)",
        "Jacob and Wilhelm Grimm",
        "1812",
        "public domain",
        "grimm_pg2591.txt",
        549_746,
        "4d909d18d528fbf393a06ecc05487006d6983f69d55a16138e4bc7642213eb90",
        text_sha256="4bea0bef9d842f7ba5ac7d6311ed6713ce087031b79b4a1eb082f94b610ca9a0",
        url=f"{_GITHUB}/AllenDowney/CompStats/4882a55bf9573fa7f76fada14d5fbf16169caaaa/pg2591.txt",
    ),
    # The benchmark with its own split; its three files are found by their own keys, too.
    CatalogEntry(
        "wikitext-2",
        "WikiText-2",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "",
        13_175_278,
        "7e3e19cec8a54d5265044cb5a7881042b8acfc664cc0e9c798509172aa0f3af2",
        parts=("wikitext-2-train", "wikitext-2-valid", "wikitext-2-test"),
        note="With the benchmark's own validation and test part; its words stand between blanks.",
    ),
    CatalogEntry(
        "wikitext-2-train",
        "WikiText-2 (training)",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "wikitext-2.train.txt",
        10_797_148,
        "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        url=f"{_WIKITEXT}/train.txt",
        listed=False,
    ),
    CatalogEntry(
        "wikitext-2-valid",
        "WikiText-2 (validation)",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "wikitext-2.valid.txt",
        1_121_681,
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        url=f"{_WIKITEXT}/valid.txt",
        listed=False,
    ),
    CatalogEntry(
        "wikitext-2-test",
        "WikiText-2 (test)",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "wikitext-2.test.txt",
        1_256_449,
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        url=f"{_WIKITEXT}/test.txt",
        listed=False,
    ),
)
