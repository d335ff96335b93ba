"""Words that take a statement back: "I don't think", "suppose that", "one might guess" before it, "no, wait" behind."""

from __future__ import annotations

import re

from proofmill.filters.answers.hedging_abroad import corrects_abroad, hypothetical_abroad, retracted_abroad

_THAT = r"(?:\s(?:that|whether|if))?"
_WHO = r"(?:one|someone|somebody|anyone|you|they|we|people|many|some|most|students?|readers?|solvers?|beginners?)"
_DENIAL = re.compile(
    r"(?:"
    r"(?:n't|\bnot|\bnever|\bcannot|\bhardly)\s(?:\w+\s)?(?:think|believe|say|claim|agree|conclude|mean|suggest|follow)"
    rf"{_THAT}"
    r"|(?:n't|\bnot|\bnever|\bhardly)\s(?:true|right|correct|clear|certain|the\scase|possible|sure)\s(?:that"
    r"|whether|if)"
    r"|\b(?:false|untrue|incorrect|wrong|impossible|unlikely|doubtful|a\smistake\sto\s\w+)\s(?:that|if)"
    rf"|\b(?:doubt|doubts|deny|denies|wonder|wonders){_THAT}"
    rf"|\b(?:nobody|no\sone|none)\s(?:\w+\s)?\w+{_THAT}"
    rf"|\b{_WHO}\s(?:might|may|could|would|will)\s(?:\w+\s)?(?:say|guess|think|claim|believe|answer|conclude|assume)"
    rf"{_THAT}"
    rf"|\b(?:some|many|most|others?|someone|somebody|every(?:one|body)|people|students?|beginners?|they)\s(?:\w+\s)?"
    rf"(?:say|think|believe|claim|guess|argue|assume|answer|conclude|choose|pick)s?{_THAT}"
    r"|\b(?:an?|his|her|my|their|the|one|your)\s(?:\w+\s)?(?:friend|classmate|colleague|teacher|neighbou?r|brother|sister)"
    rf"\s(?:says?|said|thinks?|thought|claim(?:s|ed)|believe[sd]|guess(?:es|ed)){_THAT}"
    r"|\b(?:suppose|assume|assuming|supposing|imagine|pretend|whether|unless)(?:\s(?:now|first|instead))?(?:\sthat)?"
    rf"|\b(?:mistake|error|temptation|fallacy|trap|pitfall)\s(?:here\s)?(?:is|was|would\sbe)\sto\s\w+{_THAT}"
    rf"|\btempt(?:ed|ing)\sto\s\w+{_THAT}"
    r"|\bif|(?:\A|[.!?;:,\n]\s{0,3})(?:maybe|perhaps|possibly)"
    r")",
    re.IGNORECASE,
)
_OPENING = r"(?:\b(?:the|my|our|your|this)\s(?:(?:final|correct|right|best)\s)?)?"  # of "the correct answer is"
_ADJACENT = re.compile(rf"{_DENIAL.pattern}[\s,:*_]*{_OPENING}\Z", re.IGNORECASE)
_NOT_THE = re.compile(r"(?:\A|[.!?\n]\s{0,3}|\bis\s|'s\s)not\s(?:the\s(?:\w+\s)?)?\Z", re.IGNORECASE)
_IMAGINED = re.compile(  # "If the question asked for the area, the answer is …"
    r"\bif\b[^.!?\n]*\b(?:question|problem|task|exercise)\b[^.!?\n]*\b(?:asked|wanted|were|was|had|meant|said)\b"
    rf"[^.!?\n]*[\s,]{_OPENING}\Z",
    re.IGNORECASE,
)
_CHINESE = re.compile(
    r"可能[是为有]|也许|或许|大概|如果|假如|假设|倘若|若"
    r"|怀疑|并非|难道|是否|以为|不认为|有人|很多人|许多人|不是说|错误的?|错的"
)
_CHINESE_NEAR = re.compile(rf"(?:{_CHINESE.pattern})[^。！？.!?\n]{{0,10}}\Z")
_WRONG_ANSWER = re.compile(
    r"\b(?:wrong|incorrect|mistaken|tempting|naive|common|popular|typical|reference|gold|official)\s(?:final\s)?answer",
    re.IGNORECASE,
)
_CALLED_WRONG = re.compile(
    r"\b(?:is|are|was)\s(?:clearly\s)?(?:wrong|incorrect|false|excluded|ruled\sout|eliminated|rejected|impossible|a\strap)\b"
    r"|\b(?:no\ses|n'est\spas|ist\s(?:nicht|keine?)|não\sé|non\sè)\b|ではな|ではあり|아니|(?<!\w)не\s",
    re.IGNORECASE,
)
_RETRACTION = re.compile(
    r"[\s.…!?,;:)}\]$*_\\—–-]{0,20}(?:(?:but|however|yet|oh|unfortunately|though),?\s)?(?:"
    r"no(?:[,;!:—–-]|\.(?!\sof\b)|\s(?:it|that|wait)\b)|nope\b|wait\b|hmm+\b|oops\b|sorry[,.:]|correction\b"
    r"|edit\s?:(?![*\s]{0,4}(?:format|typo|spelling|added))|scratch\sthat\b|on\ssecond\sthought\b|let\sme\s(?:reconsider|recompute|recalculate|redo|rethink)\b"
    r"|i\s(?:made\san?\s(?:mistake|error)|was\swrong|forgot|misread|miscalculated)\b"
    r"|hold\son\b|rather,\s"
    r"|(?:(?:and\s)?(?:that|this|which|it))?(?:\s?is|\s?was|'s)\s(?:wrong|incorrect|false|impossible|a\smistake"
    r"|not\s(?:the\s(?:\w{1,12}\s)?answer|right|correct|true|it|possible))(?![-\w])(?!\s(?:for|if|when|unless|only)\b)"
    r"|(?:(?:that|this|it)\s?)?(?:isn't|wasn't|can't\sbe|cannot\sbe|is\snot)\s(?:right|correct|true"
    r"|the\sanswer)(?![-\w])"
    r"|(?:that|this|it)\s(?:violates|contradicts|ignores)\b"
    r"|actually,?\s(?:no|it|that|i|the\s(?:\w{1,12}\s)?answer)\b|不对|不是|不，|等等|错了|是?错(?:误|的)|是不[对正]|不正确)",
    re.IGNORECASE,
)
_NOT = re.compile(r"(?:\bnot|n't|\bnever|\bcannot\sbe|n't\sbe|不是|并非)[\s:$*_\\(\[{]*\Z", re.IGNORECASE)
_LEAD = re.compile(
    r"(?:\b(?:(?:the|my|our)\s)?(?:(?:final|correct|right|best)\s)?answer\s(?:is|must\sbe|would\sbe)|\bit(?:'s|\sis))?"
    r"[\s:$*_\\(\[{]*\Z",
    re.IGNORECASE,
)
_REACH = 80  # characters
_FAR = 160
# Every phrase above holds one of these words; most texts hold none near their answer, and nothing else is looked for.
_BEFORE_CUES = frozenset(
    re.findall(
        r"\S+",
        "not never cannot hardly if everyone everybody "
        "suppose assume assuming supposing imagine pretend whether unless doubt "
        "doubts deny denies "
        "wonder wonders nobody no none one someone somebody anyone you they we people many some most student "
        "students reader "
        "readers solver solvers beginner beginners other others false untrue incorrect wrong impossible unlikely "
        "doubtful mistake "
        "maybe perhaps possibly friend classmate colleague teacher neighbor neighbour "
        "brother sister mistaken tempting naive common popular typical reference gold official "
        "error temptation fallacy trap pitfall tempted",
    )
)
_BEHIND_CUES = frozenset(
    re.findall(
        r"\S+",
        "edit no nope wait hmm oops sorry correction scratch second let reconsider recompute recalculate redo rethink "
        "i that this which "
        "it is was wrong incorrect false impossible mistake not right correct true can cannot violates "
        "contradicts ignores "
        "actually hold rather isn't wasn't can't that's it's s",
    )
)
_WORD = re.compile(r"[a-z']+")
_NEAR_CUES = (_BEFORE_CUES | {"might", "may", "could"}) - {"we", "you", "they"}  # who alone says nothing


def _cued(window: str, cues: frozenset[str]) -> bool:
    """Return whether a window of text may hold a phrase of doubt; one in another script always may."""
    if not window.isascii():
        return True
    lower = window.lower()
    return not cues.isdisjoint(_WORD.findall(lower)) or "n't" in lower


_CONDITION = re.compile(
    r"(?:\A|[.!?;:\n—])\W{0,6}(?:(?:and|but|so|then|now|or)\s)?"
    r"(?:if|unless|provided(?:\sthat)?|only\s(?:if|when)|assuming|supposing|(?:had|were|should)(?=\s(?:the|it|he|she|they|we|this|there)\b))\s"
    r"(?P<what>[^.!?;\n]{1,200}?)(?:,|\bthen\b)(?! ?(?:so|thus|therefore|hence)\b)"
    r" ?(?:then )?(?:[^.!?;,\n]{0,60} )?[ $*_\\(\[{]*\Z",
    re.IGNORECASE,
)
_CONDITION_BEHIND = re.compile(
    r"[^.!?;\n]{0,80}?[\s,($*}\])—–-](?:if|unless|provided(?:\sthat)?|assuming(?:\sthat)?|supposing(?:\sthat)?|only\swhen"
    r"|given\sthat|on\s(?:the\s)?condition\sthat|except\s(?:if|when)"
    r"|(?<!times\s)(?<!twice\s)(?<!half\s)(?:as|so)\slong\sas)\s(?P<what>[^.!?;\n]{1,200})",
    re.IGNORECASE,
)
_CONDITION_WORD_BEHIND = re.compile(r"\b[Ii]f\b|nless|rovided|suming|pposing|long as|condition|except|when|given that")
_CONDITION_WORD = re.compile(r"[Ii]f |nless|rovided|suming|pposing|Had |Were |Should ")
_DOING = re.compile(  # conditions that state no other case: "if we add them", "if I am not mistaken"
    r"(?:we|you|i|one)\b(?!\s(?:were|had|assume|ignore|suppose|neglect|take|pretend|allow))"
    r"|i\shad\sto\s(?:guess|choose|pick|answer|decide|bet|say|select)\b|(?:so|needed|necessary|correct|right|(?:this|that|it)\sis\s(?:so|right|correct|true))\b|(?:my|the|our|all|these|this)\s(?:\w+\s)?"
    r"(?:calculation|reasoning|computation|analysis|interpretation|memory)",
    re.IGNORECASE,
)
_CONTENT = re.compile(r"[a-z]{4,}|\d+", re.IGNORECASE)
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        "versus doing herself himself themselves itself goes does that then each every also with them from this these "
        "those there they have been were will would should could into only same when what both more than",
    )
)
_STEM = 5  # characters in which two forms of a word agree: ignored, ignoring


def conditional(before: str, question: str) -> bool:
    """Return whether the words before a statement limit it to a case that the question does not mention."""
    if not _CONDITION_WORD.search(before):
        return False
    match = _CONDITION.search(before[-2 * _FAR :])
    return match is not None and _another_case(match["what"], question) > 0


def conditional_behind(behind: str, question: str) -> bool:
    """Return whether the words behind a statement limit it so: "20, assuming no apple is rotten"."""
    if not _CONDITION_WORD_BEHIND.search(behind[:_FAR]):
        return False
    match = _CONDITION_BEHIND.match(behind[: 2 * _FAR])
    return match is not None and _another_case(match["what"], question) >= _MOSTLY


_MOSTLY = 0.5  # behind an answer, a condition may also tell the question again in other words


def _another_case(condition: str, question: str) -> float:
    """Return the share of a condition's words that the question does not have."""
    if _DOING.match(condition):
        return 0.0
    asked = {word.lower()[:_STEM] for word in _CONTENT.findall(question)}
    words = [word.lower() for word in _CONTENT.findall(condition)]
    words = [word for word in words if word not in _FUNCTION_WORDS] or words
    return sum(word[:_STEM] not in asked for word in words) / max(len(words), 1)


_OCCASION = (
    r"(?:last|another|an?\s(?:earlier|older|different|similar|previous)|previous|yesterday['’]s|(?:some|that)\sother"
    r"|the\s(?:previous|old|older|earlier|other|first|last|original))"
)
_OCCASIONS = (
    r"(?:year|month|week|time|semester|term|test|exam\w*|edition|question|problem|version|quiz|paper|textbook|book"
    r"|variant|exercise|sheet)"
)
_TIME_AGO = r"(?P<when>last\s(?:year|month|week|time|semester)|yesterday)"
_ELSEWHERE_BEHIND = re.compile(
    r"[^.!?\n]{0,80}?(?<!\bas\s)(?<!\blike\s)\b(?:in|on|of|for|from|at|to)\s(?:the\s|my\s|our\s)?"
    rf"{_OCCASION}(?:['’]s)?\s(?:\w+(?:['’]s)?\s)?(?P<what>{_OCCASIONS})\b|[^.!?\n]{{0,40}}?\s{_TIME_AGO}\b",
    re.IGNORECASE,
)
_ELSEWHERE_BEFORE = re.compile(
    rf"(?:\A|[.!?\n])\W{{0,4}}(?:but\s|and\s)?(?:{_TIME_AGO}"
    rf"|(?:in|on|of|for|from)\s(?:the\s|my\s)?{_OCCASION}\s(?:\w+(?:['’]s)?\s)?(?P<what>{_OCCASIONS})),?\s"
    r"[^.!?\n]{0,60}\Z",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"\b(?:last|another|earlier|older|different|similar|previous|old|other|first|original|yesterday)\b", re.IGNORECASE
)
_LIKENED = re.compile(r"\b(?:as|like|same|than|from)\b", re.IGNORECASE)


_NUMBERED = re.compile(r"\b(?:question|problem|exercise|task)\s(?:no\.?\s|number\s|#)?(\d{1,3})\b", re.IGNORECASE)


def of_another_question(text: str, start: int, end: int, question: str) -> bool:
    """Return whether a statement is of another question or time: "The answer was C in last year's test"."""
    before, behind = text[max(0, start - _FAR) : start], text[end : end + _FAR]
    if (numbered := _NUMBERED.search(text, start, end)) and numbered[1] != "1":
        own = rf"\b{numbered[1]}[.)]|(?:question|problem|part|exercise|task|q|#)\W{{0,3}}{numbered[1]}\b"
        if re.search(own, question, re.IGNORECASE) is None:
            return True
    if not _ELSEWHERE.search(before) and not _ELSEWHERE.search(behind):
        return False
    for match in (_ELSEWHERE_BEFORE.search(before), _ELSEWHERE_BEHIND.match(behind)):
        if match is not None and (match["when"] or match["what"]).lower().split()[-1] not in question.lower():
            return _LIKENED.search(match[0]) is None
    return False


_QUOTED = re.compile(  # You may want to write "the answer is 6"
    r"(?:(?:\A|[.!?\n])(?P<who>[^.!?\n]*?)\b(?:say|says|said|write|writes|wrote|answer|answers|answered|claim\w*|guess\w*|think"
    r"|thought|argue\w*|reply|respond|conclude|shout|cry|mistake|error|tempt\w+|naive|wrong|temptation)\b[^.!?\n\"“”]{0,60})"
    r"[\"“”«„][^\"“”«„\n]{0,30}\Z",
    re.IGNORECASE,
)
_OWN_WORDS = re.compile(r"\b(?:i|we|i['’](?:d|ll)|let|let['’]s|please|finally)\b", re.IGNORECASE)


def _quoted(before: str) -> bool:
    """Return whether what follows stands in quotation marks, as what somebody might say, and not the writer."""
    match = _QUOTED.search(before) if any(sign in before for sign in '"“„«') else None
    return match is not None and before.count('"') % 2 == ('"' in match[0]) and _OWN_WORDS.search(match["who"]) is None


def denied(text: str, start: int) -> bool:
    """Return whether what begins at `start` is denied, doubted, supposed or said by somebody else, right before it."""
    before = text[max(0, start - _FAR) : start].replace("\u2019", "'")
    if _quoted(before):
        return True
    if not _cued(before + text[start : start + 6], _BEFORE_CUES):
        return False
    return (
        _ADJACENT.search(before[-_REACH:]) is not None
        or _NOT_THE.search(before) is not None
        or _CHINESE_NEAR.search(before) is not None
        or _IMAGINED.search(before) is not None
        or any(match.end() > start for match in _WRONG_ANSWER.finditer(text, max(0, start - _REACH), start + 6))
    )


def denied_mark(text: str, start: int) -> bool:
    """Return whether a mark such as a box is denied: "not □", "it is not true that the answer is □"."""
    before = text[max(0, start - _FAR) : start].replace("\u2019", "'")
    if not _cued(before[-_REACH:], _NEAR_CUES) and "if " not in before and "If " not in before:
        return False
    lead = _LEAD.search(before)
    return _NOT.search(before) is not None or denied(before, lead.start() if lead else len(before))


def retracted(text: str, end: int) -> bool:
    """Return whether what ends at `end` is taken back right behind it: "… no, wait", "… that is wrong"."""
    behind = text[end : end + _REACH].replace("\u2019", "'")
    if _cued(behind, _BEHIND_CUES) and _RETRACTION.match(behind) is not None:
        return True
    return retracted_abroad(text, end)


_SECOND_THOUGHT = re.compile(
    r"(?:\.{2,}|…|[,;—–])\s*(?:no\b,?\s(?:wait|it|that)|wait\b|oops|sorry,|scratch\sthat|correction)", re.IGNORECASE
)


def second_thought(phrase: str) -> bool:
    """Return whether a phrase takes back inside itself what it says first: "C... no wait, D"."""
    return _SECOND_THOUGHT.search(phrase) is not None


_CONFIRMATION = re.compile(
    r"\b(?:yes|correct|consistent|right|confirm(?:s|ed)?|verified|checks?\sout|holds|matches|works|indeed|again"
    r"|as\s(?:expected|before))\b"
    r"|✓|✔|✅",
    re.IGNORECASE,
)
_CORRECTS = re.compile(
    r"\bedit\s?:|\b(?:wait|actually|correction|corrected|instead|rather|mistake|hold\son|sorry|oops|hmm|scratch\sthat"
    r"|on\ssecond\sthought"
    r"|(?:re|double)-?(?:check|comput|calculat|evaluat|consider|examin|think|read|do)\w*|wrong|incorrect"
    r"|error)\b|不对|等等|错了|更正",
    re.IGNORECASE,
)


_FAULTY = re.compile(
    r"\b(?:unless\b[^.\n]{0,60}|wrong|incorrect|false|worst|least|bad|untrue|mistaken|eliminated|excluded|rejected"
    r"|impossible|unlikely|weakest|not\sa?)\s(?:\w{1,12}\s)?\Z|(?:错误|不正确|不对|排除|不选)的?\Z",
    re.IGNORECASE,
)
_FAULTY_NOUN = re.compile(r"\b(?:wrong|incorrect|false|not|never|fails?|least)\b", re.IGNORECASE)
_ASKS_FAULTY = re.compile(
    r"\b(?:wrong|incorrect|false|not|n't|except|least|untrue|worst|never|cannot|impossible|unlikely|inconsistent"
    r"|invalid)\b|错误|不正确|不属于|不符合|不是|不能|不会|不可|有误|不恰当|不合|不对",
    re.IGNORECASE,
)
_REVISES = re.compile(
    r"\bedit\s?:|\b(?:wait|actually|however|instead|rather|mistake\w*|error|correction|corrected|sorry|oops|then\sagain"
    r"|second\sthought|upon\s\w+|re-?\s?(?:check|examin|evaluat|consider|think|calculat|assess|read|visit|do)\w*"
    r"|revis\w+|not\saccurate|double-check\w*|no|not|but)\b|更正|修正|重新|不对|然而|不过|但|实际上",
    re.IGNORECASE,
)
_CONCLUDES = re.compile(
    r"\b(?:final(?:ly)?|therefore|thus|hence|so|in\s(?:conclusion|summary)|conclud\w+|overall)\b"
    r"|综上|所以|因此|最终|最后|故",
    re.IGNORECASE,
)


def called_faulty(text: str, start: int, end: int, question: str) -> bool:
    """Return whether a statement between two offsets is of what is wrong ("the wrong option is"), unasked."""
    before = text[max(0, start - _REACH) : start]
    faulty = _FAULTY.search(before) or _FAULTY_NOUN.search(text, start, end)
    return faulty is not None and _ASKS_FAULTY.search(question) is None


def asks_faulty(question: str) -> bool:
    """Return whether a question asks for what is wrong, or does not hold."""
    return _ASKS_FAULTY.search(question) is not None


def negated(words: str) -> bool:
    """Return whether words hold a negation or an exception."""
    return _NEGATED.search(words) is not None


_NEGATED = re.compile(r"\b(?:not|no|never|n't|neither|nor|except|if|unless|without)\b|n't", re.IGNORECASE)


_NEGATES = re.compile(r"\b(?:not|never|cannot|incorrect|wrong|no)\b|n['\u2019]t\b", re.IGNORECASE)


_HYPOTHETICAL = re.compile(
    r"^\W*(?:now\s|let\sus\s|let's\s)?(?:suppose|supposing|imagine|pretend|check\swhether|see\sif)\b"
    r"|^\W*(?:now\s)?(?:let|assume(?:\sthat)?)\s\W?[A-Za-z]{1,3}\W{0,2}(?:\s?=|\sbe\b)"
    r"|(?:n't|\bnot|\bnever|\bhardly)\s(?:\w+\s)?(?:think|believe|say|claim|agree|conclude|mean|suggest"
    r"|true\sthat|sure)\b"
    r"|\b(?:false|untrue|incorrect|impossible|unlikely|doubtful)\sthat|\b(?:doubts?|den(?:y|ies)|wonders?)\b"
    r"|\btempting\sto\b"
    r"|\b(?:grader|system\snote|mark\s(?:this|it|my)\b[^.\n]{0,40}\bcorrect"
    r"|(?:reference|gold|official|ground[- ]truth)\s(?:answer|solution|label)|answer\skey)\b"
    rf"|(?<!who\s)\b{_WHO}\s(?:might|may|could)\s(?:\w+\s)?(?:say|guess|think|claim|believe|answer|conclude|assume)\b"
    r"|(?<!how\s)\b(?:some|many|most|others)\s(?:people\s|students\s|of\sthem\s)?(?:say|think|believe|claim|guess|argue"
    r"|answer)\b",
    re.IGNORECASE,
)


_DOUBTS = (_HYPOTHETICAL, _WRONG_ANSWER, _CALLED_WRONG)
_DOUBTS_ANYWHERE = (*_DOUBTS, _CHINESE)


def hypothetical(sentence: str) -> bool:
    """Return whether a closing sentence without any mark only supposes, doubts or reports what it says."""
    plain = sentence.replace("\u2019", "'")
    english = plain.isascii() and (" the " in plain or "The " in plain)
    if english:
        return any(pattern.search(plain) for pattern in _DOUBTS)
    return any(pattern.search(plain) for pattern in _DOUBTS_ANYWHERE) or hypothetical_abroad(plain)


def confirmed(text: str) -> bool:
    """Return whether words behind an answer say that it was looked at again and holds."""
    return _CONFIRMATION.search(text) is not None and _NEGATES.search(text) is None


def corrects(text: str) -> bool:
    """Return whether words between two statements say that the second replaces the first."""
    return _CORRECTS.search(text) is not None or corrects_abroad(text)


def revises(text: str) -> bool:
    """Return whether words between two statements leave room for a second thought: `corrects`, or "but", "however"."""
    return _REVISES.search(text) is not None


def concludes(text: str) -> bool:
    """Return whether words announce a conclusion: "therefore", "final"."""
    return _CONCLUDES.search(text) is not None


def doubtful(sentence: str) -> bool:
    """Return whether a sentence holds such words at all."""
    plain = sentence.replace("\u2019", "'")
    return any(pattern.search(plain) is not None for pattern in (_DENIAL, _WRONG_ANSWER, _CALLED_WRONG, _CHINESE))
