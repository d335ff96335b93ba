"""How a text ends: where its last sentence begins, an aside behind it, a sentence that breaks off."""

from __future__ import annotations

import re

TAIL = 4_000  # characters of the text around an answer that are read: what is further from the end concludes nothing
_FAR = 400  # characters from the end in which a last sentence begins
_OPENERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789$\\*(")


def sentence_start(text: str, position: int) -> int:
    """Return where the sentence around `position` begins: many models write reasoning and answer in one paragraph."""
    line = max(text.rfind("\n", 0, position) + 1, position - TAIL)
    end = position
    while (end := max(text.rfind(". ", line, end), text.rfind("! ", line, end), text.rfind("? ", line, end))) >= 0:
        start = end + 2
        while start < position and text[start].isspace():
            start += 1
        if start <= position < len(text) and text[start] in _OPENERS:
            return start
    return line


COURTESY_ABROAD = (  # how a sentence begins that offers help or wishes well, in other languages than English
    r"n['’]h[ée]site[zs]?\b|j['’]esp[èe]re\s(?:que|avoir)|si\s(?:vous|tu)\s(?:avez|as|voulez|veux|souhaite[zs])\b|bonne?\s(?:chance|journée)"
    r"|(?:souhaite[zs]|voule[zs]|veux)[- ](?:vous|tu)\b|ich\shoffe"
    r"|(?:wenn|falls)\s(?:du|sie|ihr)\b[^.!?]*\b(?:fragen?|hilfe|brauchst|benötigen)"
    r"|viel\s(?:erfolg|glück|spaß)|(?:möchtest|willst)\sdu|möchten\ssie|soll\sich|sag\smir|lass\smich|espero\sque|si\s(?:tienes|necesitas|quieres|tiene)\b"
    r"|¿(?:te|le|quieres|quiere|hay\salgo|necesitas|puedo)\b|no\sdud(?:es|e)\b|avísame|spero\sche|se\shai\b|fammi\ssapere|vuoi\b|espero\ster"
    r"|se\s(?:você\s)?(?:tiver|precisar|quiser)\b|fique\sà\svontade|quer\sque|надеюсь|если\s(?:у\s(?:вас|тебя)|нужно|хотите|есть\sвопрос)"
    r"|обращайтесь|дайте\sзнать|хотите|希望(?:这|对|能|我的)|如果(?:你|您)?(?:还|需要|有)|如有|欢迎|还有(?:什么|其他)|需要我|需要更|祝你|ご不明|他に(?:も)?(?:質問|ご)"
    r"|お役に立|もし(?:他|さらに|ご)"
)
COURTESY = re.compile(  # a whole line
    r"\W{0,4}(?:(?:i )?hope (?:this|that|it)|let me know|please let|feel free|would you like|do you want"
    rf"|is there anything|if you (?:have|need|would)|thank|happy to help|good luck|{COURTESY_ABROAD})"
    r"[^\d\n]{0,200}\Z",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"(?<=[.!?*])\s+\((?=[A-Z])(?:[^()\n]|\([^()\n]{0,60}\)){12,300}\)\.?\s*\Z")


_REFERENCES = re.compile(
    r"\n[ \t#*_]{0,6}(?:references|sources|bibliography|citations|quellen|références|fuentes|参考(?:文献|资料))"
    r"[ \t*_]{0,4}:?[ \t*_]{0,4}"
    r"(?:\n\s*(?:[-*•]|\[?\d{1,2}[\].)])[^\n]{1,400})+\s*\Z",
    re.IGNORECASE,
)


def before_aside(text: str) -> str:
    """Return a text without a courtesy, a list of references or a last sentence in brackets behind it."""
    body = text.rstrip()
    if "\n" in body and COURTESY.match(body, body.rfind("\n") + 1):
        text = body[: body.rfind("\n")].rstrip()
    if "\n" in text and (listed := _REFERENCES.search(text, max(0, len(text) - TAIL))):
        text = text[: listed.start()]
    aside = _ASIDE.search(text, max(0, len(text) - _FAR)) if text.rstrip(" .\n").endswith(")") else None
    return text if aside is None else text[: aside.start()]


_CHECK = re.compile(
    r"^[^\w\n]{0,6}(?:\d{1,2}[.)]\s{0,3})?[^\w\n]{0,4}"
    r"(?:(?:let's|let us|we can|to|now)\s(?:\w+\s)?(?:verify|check|confirm)"
    r"|verif\w+|check(?:ing)?|this (?:makes sense|works) because|because)\b[^\n.]{0,40}:\W{0,4}$",
    re.IGNORECASE | re.MULTILINE,
)
_CHECK_LINE = re.compile(
    r"(?:^[^\w\n]{0,6}|(?<=[.!;)$] )\W{0,3})"
    r"(?:(?:you|we|one|i)\scan\s(?:easily\s|also\s|quickly\s)?|let['’]?s\s|to\s|quick\s|sanity\s|indeed,?\s){0,2}"
    r"(?:double[- ])?(?:check|verify|verification|confirm)(?:\s(?:this|it|that|the answer|our answer|by \w+))?"
    r"(?:\s?[:,]|\sthat\b)(?=[^\n]*[=≥≤<>][^\n]*\s*\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_CHECKED_ABROAD = re.compile(
    r"\n[^\n]{0,60}(?:验证|检验|验算|代入)[^\n不错误]{0,60}(?:正确|成立|符合|没错)[。.！!\s]*\Z"
)
_AGAINST = re.compile(
    r"\b(?:not|wrong|however|but|instead|actually|therefore|thus|hence|mistake|answer|(?<!, )so)\b"
    r"|n't|(?<=, )so (?!this|it)|[≠✗❌]",
    re.IGNORECASE,
)


def before_check(body: str) -> str:
    """Return the text before a check with which it ends ("Let's verify: …"), unless that concludes anything itself."""
    start = max(0, len(body) - 1_500)
    tail = body[start:].lower()
    told = None if body.isascii() else _CHECKED_ABROAD.search(body, start)
    if told and body[: told.start()].strip():
        return body[: told.start()].rstrip()
    cued = any(cue in tail for cue in ("verif", "check", "confirm", "because"))
    checks = [*_CHECK.finditer(body, start), *_CHECK_LINE.finditer(body, start)] if cued else []
    if not checks or _AGAINST.search(body, checks[-1].end()) or not body[: checks[-1].start()].strip():
        return body
    return body[: checks[-1].start()].rstrip()


_NAMED_IN_BRACKETS = re.compile(r"[(\[]\s?[✓✔]?\s?[\w]{1,14}\s?[:：]")
_BRACKETED_CHECK = re.compile(
    r"[(\[]\s?[✓✔]?\s?(?:check|verification|probe|vérification|comprobación|verifica|проверка|验算|检验)\s?[:：]"
    r"(?P<said>[^()\n]{1,200}(?:\([^()\n]{0,60}\)[^()\n]{0,120}){0,6})[)\]]",
    re.IGNORECASE,
)


def without_checks(text: str) -> str:
    """Return a text with spaces for checks in brackets, "(check: 2 · 13 + 9 = 35 ✓)", that find nothing wrong."""
    if _NAMED_IN_BRACKETS.search(text) is None:  # most texts; to look for this is cheap
        return text
    return _BRACKETED_CHECK.sub(lambda match: match[0] if _AGAINST.search(match["said"]) else " " * len(match[0]), text)


def before_broken_loop(text: str) -> str:
    """Return a text that says one line again and again without the last one, if that breaks off."""
    body = text.rstrip()
    lines = [line for line in body[-TAIL:].split("\n") if line.strip()]
    if len(lines) < _LOOP or lines[-1] == lines[-2] or not lines[-2].startswith(lines[-1]) or lines[-2] != lines[-3]:
        return text
    return body[: len(body) - len(lines[-1])]


_LOOP = 3  # lines: two that are the same, and a broken one


_BARE_END = re.compile(r"\b(?P<verb>[a-z]+)\s\$?(?P<number>\d[\d,]*(?:\.\d+)?)\Z")
_STATES = frozenset(  # words before a number that ends a whole sentence
    re.findall(
        r"\w+",
        "is are was were be equals equal makes gives get gets has have had of total to number remains left leaves",
    )
)
_FULL_STOPS = frozenset({". ", "! "})


def cut_short(text: str, start: int, number: str, question: str) -> bool:
    """Return whether a text breaks off at a number of the question, in the last of several sentences."""
    end = _BARE_END.search(text, max(start, len(text) - _FAR))
    if end is None or end["number"] != number or end["verb"] in _STATES or text[start - 2 : start] not in _FULL_STOPS:
        return False
    return re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d/]|[.,]\d)", question) is not None


_NOTE = re.compile(  # Note that with 40 of them it would have been 473.
    r"\W{0,4}(?:(?:note|remark|nb|n\.b\.|ps|p\.s\.|by the way|incidentally)\b[^\n]*\b(?:if|had)\b[^\n]*\bwould\b"
    r"|(?:had|were)\s(?!(?:it|this|that)\b)[^\n.]{3,120},[^\n]*\bwould\s(?:still\s)?(?:have|be)\b[^\n]*\Z)",
    re.IGNORECASE,
)
_REMARK = re.compile(r"\b(?:could|might)\s[^.]{3,120}\sif\s")  # so she could still bake a cake if one takes 6 eggs
_NOT_SO = re.compile(  # Note that x² + 4 does not factor.
    r"\W{0,4}(?:note|notice|observe|remember)\b(?: that)?[^\n]*\b(?:not|cannot|no)\b[^\n]*\Z", re.IGNORECASE
)
_BY_THE_WAY = re.compile(r"[^\d$\\=]{20,200}\bwould\b[^\d$\\=]{0,100}\Z")  # Doubling the speed would require more.
_CONSTANT_LINE = re.compile(  # where $A$ is an arbitrary constant
    r"\W{0,4}(?:where|with|for|here)\s[^=\n]{1,40}\b(?:arbitrary|any|constants?|parameters?|integers?)\b[^=\n]{0,60}\Z",
    re.IGNORECASE,
)


def is_remark(sentence: str, question: str) -> bool:
    """Return whether a last sentence only remarks something, so that the one before it concludes."""
    if _CONSTANT_LINE.match(sentence) or _NOT_SO.match(sentence):
        return True
    if "would" not in question and (_NOTE.match(sentence) or _BY_THE_WAY.match(sentence)):
        return True
    return _REMARK.search(sentence) is not None and _REMARK.search(question) is None


_DANGLING = re.compile(  # "… and so"; "2x - 8 ="
    r"(?:\b(?:and so|and|so|then|is|are|equals?|the|of|that|which|with|by|we|get|have|since|because)|[=+×·(]"
    r"|(?<=\s)[-−])\s*\Z"
)


def breaks_off(text: str) -> bool:
    """Return whether a text ends in the middle of a sentence or an equation."""
    return _DANGLING.search(text, max(0, len(text) - _FAR)) is not None
