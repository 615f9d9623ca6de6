"""The words of synthetic biographies: names and values composed of parts, sentences, questions.

The sizes are those of the source (Zheng et al., ICLR 2025, after Allen-Zhu and Li, "Physics of language models", part
3.1): 400 first, 400 middle and 1000 last names; 200 cities; 300 universities; 100 majors; 263 companies; days 1 to 28
of the 12 months of the years 1900 to 2099. The words and sentences are our own and the names
invented. So no download is needed, world knowledge gives no answer, and a name, a city or a company is a single token.
"""

from __future__ import annotations

import functools
from itertools import product

ATTRIBUTES = ("birthday", "birth_city", "university", "major", "company", "company_city")
"""In the order of the source. The company's city follows from the company."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS, FIRST_YEAR, YEARS = 28, 1900, 200
NAME, VALUE = "<name>", "<value>"
"""Placeholders in a sentence for the person's full name and the value."""

_PARTS = {
    "first": (
        "Al Bel Cor Dan El Fen Gar Hal Il Jas Kel Lor Mar Nel Or Per Ros Sel Tam Val",
        "a ban ce dor eth fina gan hild ina jin kara lan mon nie ora phin ric sa ton vin",
    ),
    "middle": (
        "Ad Bry Cal Des Em Flo Gre Hol Iv Jun Kir Lin Mil Nor Ol Pre Quin Rey Sol Tre",
        "ace by con dra elle fer gia hart issa jo kin la mer na ona per rah ston ty wyn",
    ),
    "last": (
        "Ash Bald Carr Dunn East Farr Green Hart Ing Jarr Kemp Lang Marsh North Oak Pem Quill Rad Stan Thorn Under Vaux "
        "West Yard Zell Bram Crom Drum Feld Holm Kirk Lund Moor Penn Rock Salt Tarn Ul Wey York",
        "acre beck by combe cote dale don er field gate ham hurst ing ley man more ness ock quist ridge sett son ton wick well",
    ),
    "city": ("Amber Birch Clear Dover Elm Fair Glen Haven Iron Jade King Lake Mill New Pine Red Silver Tall Vale Wind",
             "bridge burg crest ford haven mouth point port stead ville"),
    "university": (
        "Ald Bern Crest Dorn Ever Falk Gold Hav Inver Kings Lorn Mont Nav Orm Park Queens Rother Stone Tem Wall",
        "brook dean grove stock worth",
    ),
    "major": (
        "Applied Comparative Computational Environmental General Historical Industrial International Modern Theoretical",
        "Biology Chemistry Economics Education Engineering Geography Languages Law Mathematics Music",
    ),
    "company": (
        "Axi Bolt Cera Dyna Exo Ferro Giga Helio Inno Jet Kilo Lumi Mega Nano Opti Poly Quanta Rapi Syn Terra Uni Vera "
        "Xeno Zeta",
        "com corp data gen link mart net soft tek trans works",
    ),
}  # fmt: skip
_SCHOOLS = ("University", "College", "Institute")
N_COMPANIES = 263
SIZES = {"first": 400, "middle": 400, "last": 1000, "city": 200, "university": 300, "major": 100, "company": N_COMPANIES}
"""Maximum length of each list."""

SENTENCES: dict[str, tuple[str, ...]] = {
    "birthday": (
        "<name> was born on <value>.",
        "<name>'s birthday is <value>.",
        "<name> first saw the light of day on <value>.",
        "The birth of <name> is dated <value>.",
        "<name> has kept his birthday on the same day since <value>.",
        "The life of <name> began on <value>.",
        "Records show that <name> was born on <value>.",
        "On <value> his parents welcomed <name>.",
        "<name>'s parents had him on <value>.",
        "It was <value> when <name> came into this world.",
    ),
    "birth_city": (
        "<name> was born in <value>.",
        "<name> comes from <value>.",
        "The birthplace of <name> is <value>.",
        "<name>'s first home was in <value>.",
        "<name> calls <value> his native city.",
        "The family of <name> lived in <value> at his birth.",
        "<name> is a native of <value>.",
        "<name>'s cradle stood in <value>.",
        "It was in <value> that <name> was born.",
        "The early roots of <name> lie in <value>.",
    ),
    "university": (
        "<name> studied at <value>.",
        "<name> has a degree from <value>.",
        "<name>'s alma mater is <value>.",
        "The student years of <name> were spent at <value>.",
        "<name> attended lectures at <value>.",
        "<name> was taught at <value>.",
        "It was <value> that awarded <name> his degree.",
        "<name> is a graduate of <value>.",
        "<name>'s diploma was issued by <value>.",
        "The teachers of <name> were at <value>.",
    ),
    "major": (
        "<name> majored in <value>.",
        "<name>'s field of study was <value>.",
        "The degree of <name> is in <value>.",
        "<name> chose <value> as his subject.",
        "<name> learned all about <value>.",
        "The main interest of <name> as a student was <value>.",
        "<name> passed his exams in <value>.",
        "<name>'s thesis was on <value>.",
        "It was <value> that <name> read as a student.",
        "<name> is trained in <value>.",
    ),
    "company": (
        "<name> worked for <value>.",
        "<name>'s employer was <value>.",
        "The career of <name> took place at <value>.",
        "<name> was on the staff of <value>.",
        "<name> earned his living at <value>.",
        "It was <value> that hired <name>.",
        "<name> had a job with <value>.",
        "<name>'s salary was paid by <value>.",
        "The colleagues of <name> were those of <value>.",
        "<name> had a desk at <value>.",
    ),
    "company_city": (
        "<name> worked in <value>.",
        "<name>'s office was in <value>.",
        "The workplace of <name> was in <value>.",
        "<name> went to work in <value> every day.",
        "<name> did his job in <value>.",
        "It was in <value> that <name> was employed.",
        "The working days of <name> passed in <value>.",
        "<name> followed his profession in <value>.",
        "<name>'s desk stood in <value>.",
        "For his work <name> moved to <value>.",
    ),
}
"""Ways to state each attribute, each with the full name, as in the source's `fullname` texts (which have 50 ways)."""

QUESTIONS = {
    "birthday": "What is the date of birth of <name>? Answer:",
    "birth_city": "Which city was <name> born in? Answer:",
    "university": "Which university did <name> attend? Answer:",
    "major": "Which subject did <name> study? Answer:",
    "company": "Which company employed <name>? Answer:",
    "company_city": "Where did <name> work? Answer:",
}
"""One phrasing per attribute, as in the source. No biography uses it."""

PHRASINGS = {
    "birthday": (
        QUESTIONS["birthday"],
        "On which date was <name> born? Answer:",
        "When is the birthday of <name>? Answer:",
        "State the birth date of <name>. Answer:",
        "What is the birthday of <name>? Answer:",
    ),
    "birth_city": (
        QUESTIONS["birth_city"],
        "What is the birth city of <name>? Answer:",
        "In which city was <name> born? Answer:",
        "Name the city where <name> was born. Answer:",
        "What is the city that <name> was born in? Answer:",
    ),
    "university": (
        QUESTIONS["university"],
        "At which university did <name> study? Answer:",
        "What is the university of <name>? Answer:",
        "Name the university that <name> went to. Answer:",
        "Which is the university that <name> went to? Answer:",
    ),
    "major": (
        QUESTIONS["major"],
        "What was the subject of <name>? Answer:",
        "In which subject did <name> take a degree? Answer:",
        "Name the subject that <name> read. Answer:",
        "Which is the subject that <name> read? Answer:",
    ),
    "company": (
        QUESTIONS["company"],
        "What company did <name> have a job with? Answer:",
        "Who is the company that hired <name>? Answer:",
        "Name the company of <name>. Answer:",
        "Which company hired <name>? Answer:",
    ),
    "company_city": (
        QUESTIONS["company_city"],
        "Where was the work of <name>? Answer:",
        "In which place did <name> work? Answer:",
        "Name the place of work of <name>. Answer:",
        "Which was the place where <name> did the work? Answer:",
    ),
}
"""Our phrasings of each question; the first is that of `QUESTIONS`. All words of the last one occur in others too, so a model
trained on those can read it."""


@functools.cache
def words(kind: str, size: int) -> tuple[str, ...]:
    """Return the first `size` names or values of a list of `SIZES`; all different."""
    if kind == "university":
        places = words_of("university")
        return tuple(f"{place} {school}" for school, place in product(_SCHOOLS, places))[:size]
    if kind == "major":
        fields, subjects = (part.split() for part in _PARTS["major"])
        return tuple(f"{field} {subject}" for subject, field in product(subjects, fields))[:size]
    return words_of(kind)[:size]


def words_of(kind: str) -> tuple[str, ...]:
    """Return every first part of a kind of word with every second part; the first part changes fastest."""
    starts, ends = (part.split() for part in _PARTS[kind])
    return tuple(start + end for end, start in product(ends, starts))
