"""What `hedging` finds, in other languages than English: statements denied, supposed, taken back, or called wrong.

The words are those of German, French, Spanish, Italian, Portuguese, Russian, Polish, Dutch, Turkish, Chinese, Japanese
and Korean. In a language without any here, nothing is found.
"""

from __future__ import annotations

import re

_DOUBT = (
    r"vielleicht|möglicherweise|wahrscheinlich|peut-être|quizás?|tal\svez|talvez|forse|может\sбыть"
    r"|возможно|belki"
)
_DENIES = re.compile(  # "no creo que la respuesta es", "die falsche Antwort"
    r"\b(?:no\s(?:creo|pienso)|ne\s(?:pense|crois)\spas|glaube\snicht|denke\snicht|non\s(?:credo|penso)"
    r"|não\s(?:acho|penso|creio)|не\s(?:думаю|считаю)|nie\s(?:sądzę|myślę))\b"
    r"|\b(?:incorrect[aoe]s?|inkorrekt\w*|incorret[ao]|falsche[rsn]?|mauvaise?|fausse|(?<!\bhe\s)equivocad[ao]"
    r"|(?<!estava\s)errad[ao]|(?<!\bho\s)(?<!sono\s)sbagliat[ao]|errat[ao]|неверный|неправильный|błędna|yanlış|felaktiga"
    rf"|foute|väärä|{_DOUBT})\b"
    r"|\b(?:неверно|неправда|ошибочно|неправильно|не\sверно|nieprawda),?\s(?:что|że|думать|считать)"
    r"|\b(?:falsch|unwahr),\sdass|\bfaux\squ|\bfalso\s(?:que|che)\b|\bimpossível\sque|\bimpos+ible\sque",
    re.IGNORECASE,
)
_NOT = re.compile(  # in a closing sentence, which has no mark that could be denied
    r"\b(?:nicht|niemals|keine?[rnms]?|ne\s[^.]{1,20}\s(?:pas|jamais)|n['’]\w+\s(?:pas|jamais)|não|nunca|tampoco"
    r"|non\s(?:è|ha|hanno|sono)|no\s(?:es|son|tiene|hay)|не|нет|никогда|nie|niet)\b"
    r"|不是有|(?:不是|没有|並非|并非)\s?\d|不对|不對|不正确|不成立|間違|誤り|正しくな|ではな|ではあり|じゃな|아니|틀렸",
    re.IGNORECASE,
)
_IF = re.compile(r"\b(?:si|wenn|falls|se|если|jeśli|als|hvis|om)\b[^.!?,;:\n]{0,24}\Z", re.IGNORECASE)


def denied_abroad(text: str, start: int, end: int) -> bool:
    """Return whether a statement of another language, between two offsets, is denied, supposed or of what is wrong."""
    before = text[max(0, start - 40) : start]
    sentence = re.split(r"[.!?:;\n]", before)[-1]
    return _DENIES.search(sentence + text[start:end]) is not None or _IF.search(sentence) is not None


def hypothetical_abroad(sentence: str) -> bool:
    """Return whether a closing sentence of another language denies or doubts what it says."""
    return _DENIES.search(sentence) is not None or _NOT.search(sentence) is not None


_MISTAKEN = (  # sentences and words that say of what was stated before that it does not hold
    r"moment(?:\smal)?[,:!.]|halt[,:!]|wart(?:e|en\ssie)\b|korrektur\b|entschuldigung\b|besser\sgesagt\b"
    r"|genauer\sgesagt\b|oder\svielmehr\b|ich\shabe\smich\s(?:vertan|geirrt|verrechnet)"
    r"|(?:das|dies|es)\s(?:ist|war|wäre)\s(?:falsch|nicht\s(?:richtig|korrekt|möglich)|ein\sfehler|unmöglich)"
    r"|(?:das\s)?stimmt\s(?:aber\s|so\s)?nicht"
    r"|pardon\b|attend(?:s|ez)\b|désolée?s?\b|erreur\b|ou\splutôt\b"
    r"|je\sme\s(?:suis\stromp\w+|trompe)\b|(?:c['’]est|cela\sest|c['’]était)\s(?:faux|incorrect|inexact|une\serreur)\b"
    r"|ce\sn['’](?:est|était)\spas\s(?:juste|correct|vrai|ça|cela|la\s(?:bonne\s)?réponse)\b"
    r"|esper[ae]\b|perdón\b|disculp\w+|lo\ssiento\b|corrección\b|corrijo\b|mejor\sdicho\b|o\smás\sbien\b"
    r"|me\s(?:equivoqué|he\sequivocado)\b|(?:eso|esto)\s(?:es\s(?:incorrecto|falso|un\serror|imposible)"
    r"|está\s(?:mal|equivocado)|no\s(?:es|está)\s(?:correcto|bien|cierto|posible))\b"
    r"|anzi\b|aspett[aio]\b|scus[ai]\b|scusate\b|correzione\b|o\smeglio\b|(?:mi\ssono|ho)\ssbagliat[oa]\b"
    r"|(?:questo|ciò)\s(?:è\s(?:sbagliato|errato|falso|impossibile)|non\sè\s(?:corretto|giusto|vero))\b"
    r"|desculp\w+|perdão\b|correção\b|errei\b|me\senganei\b|enganei-me\b|ou\smelhor\b"
    r"|melhor\sdizendo\b|(?:isso|isto)\s(?:está\s(?:errado|incorreto)|é\s(?:falso|um\serro|impossível)"
    r"|não\s(?:é|está)\s(?:correto|certo|verdade))\b"
    r"|нет\s?[,.:;!—–]|хотя\sнет\b|подождите\b|погодите\b|стоп\b|я\sошиб(?:ся|лась)\b|извините\b|простите\b|вернее\b"
    r"|исправление\b|поправка\b|это\s(?:неверно|неправильно|ошибка|невозможно|не\s(?:так|верно|правильно))\b"
    r"|chwila\b|czekaj\b|pomyłka\b|pomyliłem\b|przepraszam\b|wacht\b|correctie\b"
    r"|ik\sheb\sme\svergist\b|dat\s(?:klopt\sniet|is\s(?:fout|onjuist))\b|bekle\b|düzeltme\b"
    r"|等[等一]|稍等|我?算错|更正|抱歉|我错了|いや|いえ|違い|違う|間違|待って|訂正|すみません|아니|틀렸|잠깐|잠시만|정정"
)
_RATHER = (  # words that correct only where another number follows
    r"eigentlich|tatsächlich|en\sfait|plutôt|en\srealidad|in\srealtà|na\sverdade|aliás|на\sсамом\sделе|точнее|correction"
)
_NO = r"(?:nein|non|no|não|нет|nie|nee|hayır)\s?(?:[,;:!.—–]|(?=pardon|attend|espera|aspetta|scusa|moment|warte))"
_RETRACTION = re.compile(
    r"[\s.…!?,;:)}\]$*_\\。，、！—–-]{0,20}(?:(?:aber|mais|pero|ma|mas|но|doch|oh|ah|ach)\s?,?\s)?"
    rf"(?:{_MISTAKEN}|{_NO}|(?:{_RATHER})\b[^.!?\n]{{0,40}}\d)",
    re.IGNORECASE,
)
_CORRECTS = re.compile(  # at the beginning of a sentence or clause
    rf"(?:\A|[.!?…,;:()*。，！\n—–-])[\s*_]{{0,4}}(?:(?:aber|mais|pero|ma|mas|но|oh|ah)\s)?(?:{_MISTAKEN}|{_RATHER}\b)",
    re.IGNORECASE,
)
_REACH = 80  # characters


def retracted_abroad(text: str, end: int) -> bool:
    """Return whether what ends at `end` is taken back right behind it: "Nein, Moment", "Anzi no", "C'est faux"."""
    return _RETRACTION.match(text, end, end + _REACH) is not None


def corrects_abroad(text: str) -> bool:
    """Return whether words between two statements say, in another language, that the second replaces the first."""
    return _CORRECTS.search(text) is not None


RATHER_BEHIND = (  # behind a value and a comma: "60, anzi 480"
    r"anzi|o\smeglio|ou\splutôt|oder\svielmehr|besser\sgesagt|mejor\sdicho|o\smás\sbien|ou\smelhor|aliás|вернее|точнее"
)
