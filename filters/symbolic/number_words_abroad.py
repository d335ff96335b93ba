"""Numbers in the words of other languages: `zwanzig`, `vingt et un`, `veinticinco`, `двадцать пять`, `二十五`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

_DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_SECTIONS = {"万": 10_000, "亿": 100_000_000}
_CHINESE_SIGNS = "".join((*_DIGITS, *_UNITS, *_SECTIONS))
_CHINESE = re.compile(f"[{_CHINESE_SIGNS}]{{1,20}}")
_MAX_LENGTH = 80  # characters
_ENGLISH_TOO = frozenset({"due", "once", "elf", "cent", "dos", "mil", "sei", "tres", "otto", "een", "um"})
"""Words of English and names, which count nothing where other words follow them or where they begin with a capital."""


def number_abroad(text: str) -> tuple[int, str] | None:
    """Return the number that a text begins with in another language, and the words behind it; None where it doesn't."""
    if len(text) > _MAX_LENGTH or any(sign.isdigit() for sign in text):
        return None
    if (chinese := _CHINESE.match(text)) is not None:
        value = _chinese(chinese[0])
        return None if value is None else (value, text[chinese.end() :].strip())
    words = _plain(text).replace("-", " ").split()
    for count in range(len(words), 0, -1):
        if (value := _value("".join(words[:count]))) is not None:
            ambiguous = count == 1 and words[0] in _ENGLISH_TOO and (len(words) > 1 or text[:1].isupper())
            return None if ambiguous else (value, " ".join(words[count:]))
    return None


_WORD = re.compile(r"[^\W\d_]+")
_MAX_WORDS = 7  # of a numeral
_NO_NUMERALS = _ENGLISH_TOO | {"un", "une", "uno", "una", "ein", "eine", "uma", "zero", "six", "dix", "null", "on"}
_COUNTED = re.compile(rf"[{_CHINESE_SIGNS}]{{1,20}}(?=[个只名位本条张岁次种件辆棵朵人枚块元米天年月日时分秒])")


_FIGURES = re.compile(r"\d+(?:[.,]\d+)*")
_ASKS_PART = re.compile(
    r"\b(?:bruch(?:teil)?|anteil|welcher\steil|fraction|fracción|qué\sparte|fração|que\sparte|frazione|che\sparte|quale\sparte"
    r"|deel|breuk|дроб\w*|част\w+|дол[яюи]|ułam\w+|część)\b",
    re.IGNORECASE,
)
_NUMERATORS = {
    1: "ein eine un une uno una um uma один одна одну een",
    2: "zwei deux dos due dois duas две два twee",
    3: "drei trois tres tre três три drie",
    4: "vier quatre cuatro quattro quatro четыре",
    5: "fünf cinq cinco cinque пять vijf",
    6: "sechs six seis sei шесть zes",
    7: "sieben sept siete sette sete семь zeven",
    8: "acht huit ocho otto oito восемь",
    9: "neun neuf nueve nove девять negen",
}
_DENOMINATORS = {
    2: "halb halbe halbes medio medios mezzo meio половина половину",
    3: "drittel tiers tercio tercios terzo terzi terço terços треть трети derde derden",
    4: "viertel quart quarts cuarto cuartos quarto quarti quartos четверть четверти kwart vierde",
    5: "fünftel cinquième cinquièmes quinto quintos quinti пятая пятых vijfde",
    6: "sechstel sixième sixièmes sexto sextos sesto sesti шестая шестых zesde",
    7: "siebtel septième septièmes séptimo séptimos settimo settimi sétimo sétimos седьмая седьмых zevende",
    8: "achtel huitième huitièmes octavo octavos ottavo ottavi oitavo oitavos восьмая восьмых achtste",
    9: "neuntel neuvième neuvièmes noveno novenos nono noni nonos девятая девятых negende",
    10: "zehntel dixième dixièmes décimo décimos decimo decimi десятая десятых tiende",
}
_COUNTS = {word: count for count, words in _NUMERATORS.items() for word in words.split()}
_PARTS_OF = {word: count for count, words in _DENOMINATORS.items() for word in words.split()}
_PART_NAMED = re.compile(
    rf"\b(?P<count>{'|'.join(_COUNTS)})[\s-](?P<part>{'|'.join(sorted(_PARTS_OF, key=len, reverse=True))})\b",
    re.IGNORECASE,
)


def _part(match: re.Match[str]) -> str:
    return f"{_COUNTS[match['count'].lower()]}/{_PARTS_OF[match['part'].lower()]}"


def in_figures_abroad(sentence: str, question: str = "") -> str:
    """Return a sentence with the one numeral of another language in it in figures; as it is where it has several.

    Where a question asks for a part, "tres cuartos" is 3/4 and no three rooms.

    Figures beside it must be those of the question: "vier Primzahlen zwischen 10 und 20".
    """
    if _ASKS_PART.search(question) is not None and (parts := _PART_NAMED.sub(_part, sentence)) != sentence:
        return parts
    if not set(_FIGURES.findall(sentence)) <= set(_FIGURES.findall(question)):
        return sentence
    found = [(match.start(), match.end(), _chinese(match[0])) for match in _COUNTED.finditer(sentence)]
    found = [numeral for numeral in found if sentence[numeral[0] : numeral[1]] != "一"] or list(_numerals(sentence))
    if len(found) != 1 or found[0][2] is None:
        return sentence
    start, end, value = found[0]
    return f"{sentence[:start]}{value}{sentence[end:]}"


def _numerals(sentence: str) -> Iterator[tuple[int, int, int | None]]:
    words = list(_WORD.finditer(sentence))
    names = [_plain(word[0]) for word in words]
    at = 0
    while at < len(words):
        for count in range(min(_MAX_WORDS, len(words) - at), 0, -1):
            value = _value("".join(names[at : at + count]))
            if value is not None and not (count == 1 and names[at] in _NO_NUMERALS):
                yield words[at].start(), words[at + count - 1].end(), value
                at += count - 1
                break
        at += 1


def _plain(text: str) -> str:
    """Return a text in small letters without accents."""
    letters = unicodedata.normalize("NFKD", text.lower().replace("ß", "ss"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


def _value(word: str) -> int | None:
    """Return the value of a numeral without blanks, up to 999,999."""
    names = _below_thousand()
    if word in names:
        return names[word]
    for thousand in _THOUSANDS:
        before, found, behind = word.partition(thousand)
        if not found:
            continue
        left = 1 if not before else names.get(before)
        right = 0 if not behind else names.get(behind, names.get(behind.removeprefix("e")))
        if left and right is not None:
            return 1000 * left + right
    return None


_PARTS = {
    "1/2": "halb halbe halben halber halbes halfte moitie demie mitad meta metade helft halve половина половину",
    "1/3": "drittel tiers tercio tercios terzo terzi terco tercos derde треть трети",
    "1/4": "viertel cuarto cuartos quarto quarti quartos kwart четверть четверти",
    "2": "doppelt doppelte doppelten verdoppelt doble dobles doppio doppia dobro dubbel вдвое",
    "3": "dreifach dreifache dreifachen triplo tripla втрое",
    "12": "dutzend dutzende douzaine douzaines docena docenas dozzina dozzine duzia duzias dozijn дюжина дюжины дюжин",
}
_ENGLISH_WORDS = frozenset({"cents", "mila", "mille", "meta"})  # beside those above
_TIMES = ("mal", "keer")  # zweimal: behind a numeral


@lru_cache(maxsize=1)
def _parts() -> dict[str, str]:
    return {_plain(word): value for value, words in _PARTS.items() for word in words.split()}


@lru_cache(maxsize=8192)
def word_value(word: str) -> str | None:
    """Return the value of one word of another language that is a number, a part or a multiple; None for all others.

    Words that are English too count nothing.
    """
    name = _plain(word)
    if len(name) < 3 or name in _NO_NUMERALS or name in _ENGLISH_WORDS:
        return None
    stem = next((name.removesuffix(times) for times in _TIMES if name.endswith(times)), name)
    value = _value(name) if _value(name) is not None else _value(stem) if stem else None
    return str(value) if value is not None else _parts().get(name)


_THOUSANDS = ("tausend", "mille", "mila", "mil", "duizend", "тысяча", "тысячи", "тысяч")
_LANGUAGES = (
    # 0 to 19, the tens from 20 on, the hundreds from 100 on
    (
        "null eins zwei drei vier funf sechs sieben acht neun zehn elf zwolf dreizehn vierzehn funfzehn sechzehn "
        "siebzehn achtzehn neunzehn",
        "zwanzig dreissig vierzig funfzig sechzig siebzig achtzig neunzig",
        "hundert zweihundert dreihundert vierhundert funfhundert sechshundert siebenhundert achthundert neunhundert",
    ),
    (
        "nul een twee drie vier vijf zes zeven acht negen tien elf twaalf dertien veertien vijftien zestien zeventien "
        "achttien negentien",
        "twintig dertig veertig vijftig zestig zeventig tachtig negentig",
        "honderd tweehonderd driehonderd vierhonderd vijfhonderd zeshonderd zevenhonderd achthonderd negenhonderd",
    ),
    (
        "zero un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize dixsept dixhuit "
        "dixneuf",
        "vingt trente quarante cinquante soixante - quatrevingt -",
        "cent deuxcent troiscent quatrecent cinqcent sixcent septcent huitcent neufcent",
    ),
    (
        "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciseis diecisiete "
        "dieciocho diecinueve",
        "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
        "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos novecientos",
    ),
    (
        "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici sedici "
        "diciassette diciotto diciannove",
        "venti trenta quaranta cinquanta sessanta settanta ottanta novanta",
        "cento duecento trecento quattrocento cinquecento seicento settecento ottocento novecento",
    ),
    (
        "zero um dois tres quatro cinco seis sete oito nove dez onze doze treze quatorze quinze dezesseis dezessete "
        "dezoito dezenove",
        "vinte trinta quarenta cinquenta sessenta setenta oitenta noventa",
        "cento duzentos trezentos quatrocentos quinhentos seiscentos setecentos oitocentos novecentos",
    ),
    (
        "ноль один два три четыре пять шесть семь восемь девять десять одиннадцать двенадцать тринадцать четырнадцать "
        "пятнадцать шестнадцать семнадцать восемнадцать девятнадцать",
        "двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто",
        "сто двести триста четыреста пятьсот шестьсот семьсот восемьсот девятьсот",
    ),
)
_ALSO = {  # other forms of one number
    "eine": 1, "ein": 1, "einhundert": 100, "une": 1, "quatrevingts": 80, "soixanteetonze": 71, "cien": 100,
    "veintiun": 21, "veintiuna": 21, "cem": 100, "catorze": 14, "одна": 1, "одно": 1, "две": 2, "uma": 1, "duas": 2,
}  # fmt: skip


@lru_cache(maxsize=1)
def _below_thousand() -> dict[str, int]:
    """Return every numeral below a thousand, accents and blanks left out."""
    names = {_plain(name): value for name, value in _ALSO.items()}
    for language, (ones, tens, hundreds) in enumerate(_LANGUAGES):
        below = _below_hundred(list(map(_plain, ones.split())), list(map(_plain, tens.split())), language)
        names.update(below)
        for count, hundred in enumerate(map(_plain, hundreds.split()), 1):
            names.update({hundred: 100 * count, f"{hundred}s": 100 * count})
            for name, value in below.items():
                if value:
                    names.update({f"{hundred}{name}": 100 * count + value, f"{hundred}e{name}": 100 * count + value})
    return names


_GERMAN, _DUTCH, _FRENCH, _SPANISH, _ITALIAN, _PORTUGUESE, _RUSSIAN = range(7)


def _below_hundred(ones: list[str], tens: list[str], language: int) -> dict[str, int]:
    names = {name: value for value, name in enumerate(ones)}
    for ten, name in enumerate(tens, 2):
        if name == "-":  # soixante-dix, quatre-vingt-dix
            continue
        names[name] = 10 * ten
        for one in range(1, 20 if language == _FRENCH and ten in (6, 8) else 10):
            names[_joined(ones, one, name, language)] = 10 * ten + one
    return names


def _joined(ones: list[str], one: int, ten: str, language: int) -> str:
    if language in (_GERMAN, _DUTCH):
        return f"ein{'und'}{ten}" if language == _GERMAN and one == 1 else f"{ones[one]}{('und', 'en')[language]}{ten}"
    if language == _FRENCH and one == 1 and ten != "quatrevingt":
        return f"{ten}et{ones[one]}"
    if language == _SPANISH:
        return f"veinti{ones[one]}" if ten == "veinte" else f"{ten}y{ones[one]}"
    if language == _ITALIAN and one in (1, 8):
        return f"{ten[:-1]}{ones[one]}"
    return f"{ten}e{ones[one]}" if language == _PORTUGUESE else f"{ten}{ones[one]}"


def _chinese(numeral: str) -> int | None:
    """Return the value of a Chinese numeral: 二十五, 三万五千; None where its signs do not follow each other so."""
    total = section = 0
    digit: int | None = None
    for sign in numeral:
        if sign in _DIGITS:
            if digit not in (None, 0):
                return None  # 二五 is a row of digits
            digit = _DIGITS[sign]
        elif sign in _UNITS:
            section += (1 if digit is None else digit) * _UNITS[sign]
            digit = None
        else:
            total += (section + (digit or 0)) * _SECTIONS[sign]
            section, digit = 0, None
    return total + section + (digit or 0)
