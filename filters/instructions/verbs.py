"""Whether a text begins with a verb: what IFBench asks a trained tagger, asked of a list of verbs and the next word.

A word that is a verb only counts wherever it stands first. One that may be a noun too ("plan", "design") counts where
the next word is one that follows a verb and no noun: "Plan your trip", not "Plan B". Modal verbs are none, as there.
"""

from __future__ import annotations

import re

_VERBS = frozenset(
    re.findall(
        r"\w+",
        """accept accompany accomplish achieve acquire adapt add adjust admit adopt advise affirm aim allow analyze
        analyse announce apologize appear apply appoint appreciate approve argue arise arrange arrive ask
        assemble assert assess assign assist assume assure attach attain avoid await bake be become beg begin
        behave believe belong bend bind blend boil borrow bring build bury buy calculate capture carry celebrate
        choose clarify classify clean climb collaborate collect combine come communicate compare compile
        complete comprehend compute concentrate conclude confirm connect consider consist construct consult
        contain continue contribute convert convey convince create cultivate decide declare decline decorate
        decrease dedicate deepen define delete deliver demonstrate deny depend derive describe deserve determine
        develop devote differ dig discover discuss divide donate draw drive earn eat educate elect eliminate
        embark embrace emphasize employ enable encounter encourage enhance enjoy enrich ensure enter establish
        evaluate examine exist expand expect explain explore express extend extract facilitate fall fill find
        finish fix fly follow forget forgive form foster gather generate get give go grow guess happen hear hire
        identify ignore illustrate imagine implement imply improve include incorporate indicate inform inspire
        install introduce invent invest invite involve join keep know lay lead learn leave lend let lie listen
        locate lose maintain make manage meet memorize mention merge mix modify multiply observe obtain occur
        offer organize overcome participate pay perform persuade pour practice prepare present preserve prevent
        proceed produce promote propose protect prove provide publish pursue put raise reach read realize
        receive recognize recommend reduce refer reflect refuse regard reject relate relax rely remain remember
        remind remove repeat replace represent require resolve respond restore retain reveal review revise
        rewrite roll save say see seek seem select sell send serve share shorten simmer simplify sing sit sketch
        slice solve speak specify spend spread sprinkle stand state stay stir strengthen submit succeed suggest
        summarize support suppose survive take talk teach tell think throw translate transform travel treat try
        understand unite unlock update utilize verify visit wait want wear welcome win wish wonder write am is
        are was were been being has have had do does did done went gone made wrote written took taken gave given
        came saw seen knew known thought said got found brought began begun chose chosen built bought sought
        taught told left kept felt met led sent spent stood understood won""",
    )
)
_EITHER = frozenset(
    re.findall(
        r"\w+",
        """access act address answer approach attempt attack balance bear book break brush call care cause
        challenge change chart check code comment cook cost count cover craft cross cry cut damage dance date
        deal delay delight design detail dive doubt dream dress drink drop effect email end estimate exercise
        experience explore face fear feed feel fight file film finance fish fit flow focus fold force function
        fund gain guide hand head heat help highlight hold hope host hunt impact increase influence interest
        issue judge jump kick kiss label land last laugh layer lift light limit line link list live lock look
        love map mark mask master match measure mind model move name need note notice number open order outline
        pack paint park pass pause phone pick picture place plan plant play point post power press print process
        program progress project promise pull purchase push question quote race rain range rate record remark
        rent report request research reserve respect rest result return ride ring rise risk rule run sail sample
        scale score search season set shape shift shop show sign sleep smell smile sort sound spark stage start
        step stop store study surprise swim switch talk target taste tell test thank tie time title touch track
        trade train transport trust turn type use value view vote wake walk warm wash waste watch water weigh
        wish work worry""",
    )
)
_FOLLOWS = frozenset(  # behind a verb, and hardly behind a noun that begins a sentence
    re.findall(
        r"\w+",
        """a an the this that these those my your his her its our their me you him us them it yourself yourselves
        some any all every each both no one two three several many more up down out off over away back together
        forward into carefully closely at with through around about ahead early by whether how what why when
        where who which for from on in to as""",
    )
)
_NOT_BEHIND_EITHER = frozenset(
    {"one", "two", "three", "of", "is", "are", "was", "were", "has", "for", "from", "on", "in", "to", "as", "by", "at"}
)
_DOUBLED = re.compile(r"([bdgklmnprt])\1\Z")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def begins_with_verb(text: str) -> bool:
    """Return whether the first word of a text is a verb, in any of its forms."""
    words = [word.lower() for word in _WORD.findall(text[:400])[:2]]
    if not words or not re.match(r"[\s\"'“‘*#_>(\[-]*\w", text):
        return False
    first = re.split(r"['’]", words[0])[0] if "'" in words[0] or "’" in words[0] else words[0]
    behind = words[1] if len(words) > 1 else ""
    if words[0].startswith(("let's", "let’s", "don't", "don’t", "doesn't", "isn't", "aren't", "didn't")):
        return True
    stems = _stems(first)
    if not _VERBS.isdisjoint(stems):
        # "Drawings" and "Building materials" are no verbs: a form in -s or -ing needs what follows a verb.
        return first in _VERBS or first.endswith("ed") or behind in _FOLLOWS
    if _EITHER.isdisjoint(stems):
        return False
    if first.endswith("ed"):
        return True
    return behind in _FOLLOWS - _NOT_BEHIND_EITHER or (first.endswith("ing") and behind in _FOLLOWS)


def _stems(word: str) -> set[str]:
    """Return the words of which one may be a form: "planning" of "plan" and "planne"."""
    stems = {word}
    for ending in ("ing", "ed", "es", "s", "d"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            stem = word[: -len(ending)]
            stems |= {stem, f"{stem}e", _DOUBLED.sub(r"\1", stem)}
    for ending in ("ies", "ied"):
        if word.endswith(ending):
            stems.add(f"{word[:-3]}y")
    return stems
