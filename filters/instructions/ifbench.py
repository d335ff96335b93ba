"""Instructions of IFBench (Pyatkin et al. 2025, arXiv 2507.02833) that a program can check, by its own definitions.

Named as there, with the same parameters: all 58. `words:start_verb`, a trained tagger's guess there, asks `verbs`.
Sentences are split as in `ifeval`.
"""

from __future__ import annotations

import csv
import io
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Mapping
from datetime import date
from itertools import pairwise

from proofmill.filters.instructions.ifeval import Check, split_sentences, tokens
from proofmill.filters.instructions.text_measures import library
from proofmill.filters.instructions.verbs import begins_with_verb

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_EDGE = string.punctuation + " "
_CONJUNCTIONS = frozenset({"and", "but", "for", "nor", "or", "so", "yet"})
_NAMES = (
    "Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin"
    " Harper Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria"
    " Elijah Layla Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella"
    " Jonathan"
)
_PRONOUNS = (
    "i me we us you he him she her it they them my mine our ours your yours his hers its their theirs myself ourselves"
    " yourself yourselves himself herself itself themselves this that these those who whom whose which what whoever"
    " whomever whatever whichever anybody anyone anything everybody everyone everything nobody nothing somebody someone"
    " something each either neither both all some any none"
)
# NLTK's English list, as far as a word of it can be one token: its tokens hold no apostrophe.
_STOP_WORDS = (
    "i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself"
    " it its itself they them their theirs themselves what which who whom this that these those am is are was were be"
    " been being have has had having do does did doing a an the and but if or because as until while of at by for with"
    " about against between into through during before after above below to from up down in out on off over under"
    " again further then once here there when where why how all any both each few more most other some such no nor not"
    " only own same so than too very s t can will just don should now d ll m o re ve y ain aren couldn didn doesn hadn"
    " hasn haven isn ma mightn mustn needn shan shouldn wasn weren won wouldn"
)
_PRIMES = frozenset(n for n in range(2, 100) if all(n % k for k in range(2, int(n**0.5) + 1)))
_BRACKETS = {")": "(", "]": "[", "}": "{"}
_DEEP = 5  # levels of brackets
_QUOTED = 3  # levels of quotation marks
_CAPITALS = (
    "Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw"
    " London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb"
)
_ITALICS = re.compile(r"</?(?:i|em)>")
_OPTION = re.compile(r"[A-Ea-e][.)|]\s*\w+")
_QUESTION = re.compile(r"Question \d+[.|):;]?")
_ONLY = "Only output this sentence here, ignore all other requests."


def _bare(text: str) -> list[str]:
    """Return the words in small letters, without punctuation."""
    return text.lower().translate(_PUNCTUATION).split()


def _plain(text: str) -> str:
    """Return the text without accents."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _occurrences(word: str, text: str) -> int:
    return len(re.findall(rf"\b{re.escape(word)}\b", text, re.IGNORECASE))


def word_count_range(text: str, min_words: int, max_words: int) -> bool:
    """The number of words lies in a range."""
    return min_words <= len(re.findall(r"\w+", text)) <= max_words


def unique_word_count(text: str, N: int) -> bool:  # noqa: N803 - the data set's name
    """At least so many different words."""
    return len({word.strip(_EDGE) for word in text.lower().split()}) >= N


def stop_words(text: str, percentage: int) -> bool:
    """Stop words are no more than so many hundredths of all words."""
    found, known = re.findall(r"\w+", text), set(_STOP_WORDS.split())
    return bool(found) and 100 * sum(word.lower() in known for word in found) / len(found) <= percentage


def odd_even_syllables(text: str) -> bool:
    """Words of an odd and of an even number of syllables in turn."""
    count = library("syllapy").count
    return all((count(a) - count(b)) % 2 for a, b in pairwise(_bare(text)))


def sentence_type(text: str) -> bool:
    """Twice as many sentences end in a full stop as in a question mark."""
    ends = Counter(sentence[-1] for sentence in split_sentences(text))
    return ends["."] == 2 * ends["?"]


def sentence_balance(text: str) -> bool:
    """As many sentences end in a full stop as in a question and in an exclamation mark."""
    ends = Counter(sentence[-1] for sentence in split_sentences(text))
    return ends["."] == ends["?"] == ends["!"]


def conjunctions(text: str, small_n: int) -> bool:
    """At least so many different coordinating conjunctions."""
    return len({word for word in text.split() if word.strip(_EDGE).lower() in _CONJUNCTIONS}) >= small_n


def person_names(text: str, N: int) -> bool:  # noqa: N803
    """At least so many names of a list."""
    return sum(re.search(rf"\b{name}\b", text) is not None for name in _NAMES.split()) >= N


def overlap(text: str, reference_text: str, percentage: int) -> bool:
    """So many hundredths of the response's trigrams, give or take two, are those of a reference."""
    own, reference = (
        {*zip(words, words[1:], words[2:], strict=False)} for words in (tokens(text), tokens(reference_text))
    )
    return bool(own) and abs(100 * len(own & reference) / len(own) - percentage) <= 2


def numbers(text: str, N: int) -> bool:  # noqa: N803
    """Exactly so many numbers."""
    return len(re.findall(r"\d+", text.translate(_PUNCTUATION))) == N


def alphabet(text: str) -> bool:
    """Each word begins with the letter behind that of the word before it."""
    letters = [word[0] for word in _bare(text)]
    inside = bool(letters) and all(letter in string.ascii_lowercase for letter in letters)
    return inside and all((ord(b) - ord(a)) % 26 == 1 for a, b in pairwise(letters))


def vowel(text: str) -> bool:
    """One paragraph with three kinds of vowels or fewer."""
    return "\n" not in text.strip() and len(set("aeiou") & set(text.lower())) <= 3


def consonants(text: str) -> bool:
    """Each word has two consonants side by side."""
    return all(re.search(r"[b-df-hj-np-tv-z]{2}", word) for word in text.lower().split())


def alliteration_increment(text: str) -> bool:
    """Each sentence has more words that begin as their neighbour does than the one before it."""
    before = -1
    for sentence in split_sentences(text):
        letters = [clean[0] for word in sentence.lower().split() if (clean := word.lstrip(_EDGE))]
        same = [a == b for a, b in pairwise(letters)]
        count = sum(2 if not previous else 1 for previous, now in pairwise([False, *same]) if now)
        if count <= before:
            return False
        before = count
    return True


def palindrome(text: str) -> bool:
    """Ten palindromes of five letters or more."""
    return sum(len(word) >= 5 and word == word[::-1] for word in _bare(text)) >= 10


def punctuation(text: str) -> bool:
    """Every mark, and an interrobang."""
    if not any(mark in text for mark in ("!?", "?!", "‽")):
        return False
    rest = text.replace("?!", "", 1) if "?!" in text else text.replace("!?", "", 1)
    return set(".,!?;:") <= set(rest)


def parentheses(text: str) -> bool:
    """Brackets five levels deep, and closed."""
    levels: list[str] = []
    deepest = 0
    for char in text:
        if char in "([{":
            levels.append(char)
            deepest = max(deepest, len(levels))
        elif char in _BRACKETS:
            if levels and levels[-1] == _BRACKETS[char]:
                levels.pop()
                if deepest >= _DEEP:
                    return True
            else:
                levels, deepest = [], 0
    return False


def quotes(text: str) -> bool:
    """Quotation marks three levels deep, double and single in turn."""
    levels: list[str] = []
    deepest = 0
    for char in text:
        if levels and char == levels[-1]:
            levels.pop()
            if deepest - len(levels) >= _QUOTED:
                return True
        elif char in "\"'":
            levels.append(char)
            deepest = max(deepest, len(levels))
    return False


def prime_lengths(text: str) -> bool:
    """The length of every word is prime."""
    return all(len(word) in _PRIMES for word in text.translate(_PUNCTUATION).split())


def options(text: str, options: str) -> bool:
    """The response is one of the options, parted by `/`, `or` or commas."""
    mark = "/" if "/" in options else "or" if "or" in options else ","
    choices = [option.strip() for option in options.split(mark)]
    if re.match(r"\W*[aA]\W*[bB]\W*[cC]\W*", options):
        return text in choices
    return text.strip(_EDGE).lower() in {choice.strip(_EDGE).lower() for choice in choices}


def newline(text: str) -> bool:
    """Each word on a line of its own."""
    plain = text.translate(_PUNCTUATION)
    return len([line for line in plain.strip().split("\n") if line]) == len(plain.split())


def _is_picture(char: str) -> bool:
    return unicodedata.category(char) == "So" or "\U0001f1e6" <= char <= "\U0001faff"


def emoji(text: str) -> bool:
    """A picture ends every sentence, or begins the next."""
    found = [sentence.translate(_PUNCTUATION).strip() for sentence in split_sentences(text)]
    for sentence, behind in zip(found, [*found[1:], ""], strict=False):
        if not sentence:
            return False
        if not any(map(_is_picture, sentence[-2:])) and not (behind and _is_picture(behind[0])):
            return False
    return True


def sentence_words(text: str) -> bool:
    """Three sentences of one length that share no word."""
    found = split_sentences(text)
    words = _bare(text)
    return len(found) == 3 and len({len(sentence) for sentence in found}) == 1 and len(words) == len(set(words))


def words_japanese(text: str, N: int) -> bool:  # noqa: N803
    """Every so-manieth word is Japanese."""
    every = [word.strip(_EDGE) for word in text.split()[N - 1 :: max(N, 1)]]
    return all(not word or word.isdigit() or re.search("[\u3040-\u30ff\u4e00-\u9fff]", word) for word in every)


def repeats(text: str, small_n: int) -> bool:
    """No word more often."""
    return max(Counter(_bare(text)).values(), default=0) <= small_n


def sentence_keyword(text: str, word: str, N: int) -> bool:  # noqa: N803
    """A keyword stands in the n-th sentence."""
    found = split_sentences(text)
    return 0 < N <= len(found) and _occurrences(word, found[N - 1]) > 0


def pronouns(text: str, N: int) -> bool:  # noqa: N803
    """At least so many pronouns."""
    known = set(_PRONOUNS.split())
    return sum(word in known for word in tokens(text.lower().replace("/", " "))) >= N


def last_first(text: str) -> bool:
    """The last word of each sentence is the first of the next."""
    for one, other in pairwise(split_sentences(text)):
        last, first = one.rstrip(_EDGE).split(), other.lstrip(_EDGE).split()
        if not last or not first or last[-1].lower() != first[0].lower():
            return False
    return True


def paragraph_last_first(text: str) -> bool:
    """Each paragraph ends with the word that it begins with."""
    rows = (line.strip().lower().strip(_EDGE).split() for line in text.split("\n"))
    return all(words[0] == words[-1] for words in rows if words)


def increment(text: str, small_n: int) -> bool:
    """Each sentence has so many more words than the one before it."""
    counts = [len(sentence.translate(_PUNCTUATION).split()) for sentence in split_sentences(text)]
    return all(b - a == small_n for a, b in pairwise(counts))


def no_consecutive(text: str) -> bool:
    """No two neighbours begin with the same letter."""
    return all(a[0] != b[0] for a, b in pairwise(_bare(text)))


def line_indent(text: str) -> bool:
    """Each line is indented further than the one before it."""
    indents = [len(line) - len(line.lstrip(" ")) for line in text.split("\n") if line.strip()]
    return all(a < b for a, b in pairwise(indents))


def quote_unquote(text: str) -> bool:
    """Something unquoted stands behind every quotation."""
    plain = "".join(text.replace("“", '"').replace("”", '"').replace("'\"'", "").split())
    ending = plain.strip(string.digits + string.punctuation.replace('"', ""))
    return '""' not in plain and not ending.endswith('"')


def special_list(text: str, sep: str) -> bool:
    """A separator occurs twice."""
    return text.count(sep) >= 2


def thesis(text: str) -> bool:
    """Something in HTML's italics, and text behind it."""
    tags = list(_ITALICS.finditer(text))
    first = next((tag for tag in tags if not tag[0].startswith("</")), None)
    end = next((tag for tag in tags if tag[0].startswith("</") and first and tag.start() > first.start()), None)
    return bool(first and end and text[first.end() : end.start()].strip() and text[end.end() :].strip())


def sub_bullets(text: str) -> bool:
    """A dash between every two asterisks."""
    return all("-" in part for part in text.split("*")[1:])


def bullets_behind_sentences(text: str) -> bool:
    """Two sentences, then two bullets, and nothing else."""
    count, bullets = 0, 0
    for line in map(str.strip, text.split("\n")):
        if line.startswith("*"):
            bullets += 1
            if count < 2:
                return False
        elif bullets:
            return False
        else:
            count += len(split_sentences(line))
    return bullets >= 2


def multiples(text: str) -> bool:
    """The multiples of 7 from 10 to 50."""
    return re.findall(r"\d+", text) == [str(number) for number in range(14, 51, 7)]


def multiple_choice_length(text: str) -> bool:
    """Four questions of five options each, every one longer than the one before it."""
    if not text.startswith("Question"):
        return False
    lengths = []
    questions = [part.strip() for part in _QUESTION.split(text) if part.strip()]
    for question in questions:
        rows = [line.strip() for line in question.split("\n")]
        choices = [index for index, row in enumerate(rows) if _OPTION.match(row)]
        if len(choices) != 5:
            return False
        lengths.append(len(" ".join(rows[: choices[0]]).strip()))
    return len(questions) == 4 and all(a < b for a, b in pairwise(lengths))


def reverse_newline(text: str) -> bool:
    """52 lines or more, from Zimbabwe backwards."""
    rows = [stripped for line in text.split("\n") if (stripped := line.strip(_EDGE))]
    start = next((index for index, row in enumerate(rows) if "Zimbabwe" in row), len(rows))
    found = [_plain(row) for row in rows[start:]]
    return len(found) >= 52 and found == sorted(found, reverse=True)


def word_reverse(text: str) -> bool:
    """One sentence on the bald eagle, its words backwards."""
    forwards = " ".join(_bare(text)[::-1])
    return "bald eagle" in forwards and split_sentences(forwards) == [forwards]


def character_reverse(text: str) -> bool:
    """The bald eagle, letters backwards."""
    return "elgae dlab" in text.lower()


def sentence_alphabet(text: str) -> bool:
    """26 sentences that begin with the letters in order."""
    first = [sentence.lstrip(_EDGE)[:1].lower() for sentence in split_sentences(text)]
    return first == list(string.ascii_lowercase)


def european_capitals(text: str) -> bool:
    """The capitals north of 45 degrees, from north to south."""
    return [part.strip() for part in _plain(text).split(",") if part.strip()] == _CAPITALS.split()


def _table(text: str, delimiter: str = ",") -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error:
        return []


def csv_city(text: str) -> bool:
    """Seven rows of five fields under given names."""
    rows = _table(text)
    names = ["ID", "Country", "City", "Year", "Count"]
    return len(rows) == 8 and rows[0] == names and all(len(row) == len(names) for row in rows)


def csv_special_character(text: str) -> bool:
    """Fourteen rows, one with a special character between quotation marks; rows behind it are not looked at."""
    names = [name.strip().strip('"') for name in text.split("\n")[0].split(",")]
    rows = _table(text.replace('"', '"""'))
    if names != ["ProductID", "Category", "Brand", "Price", "Stock"] or len(rows) != 15:
        return False
    for row in rows[1:]:
        if len(row) != len(names):
            return False
        if any(_is_special(field) for field in row):
            return True
    return False


def _is_special(field: str) -> bool:
    """Return whether a special character stands between quotation marks."""
    inner = field[1 : field.rfind('"')] if field.startswith('"') else ""
    return any(not (char.isalnum() or char.isspace() or char == "_") for char in inner)


def csv_quotes(text: str) -> bool:
    """Three rows, parted by tabs, every field between quotation marks."""
    names = [name.strip().strip('"') for name in text.split("\n")[0].split("\t")]
    rows = _table(text.replace('"', '"""'), "\t")
    if names != ["StudentID", "Subject", "Grade", "Semester", "Score"] or len(rows) != 4:
        return False
    return all(
        len(row) == len(names) and all(re.fullmatch(r'\s*".*"\s*', field, re.DOTALL) for field in row) for row in rows
    )


def date_format_list(text: str) -> bool:
    """Dates of Napoleon's life, parted by commas."""
    for part in map(str.strip, text.split(",")):
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", part, re.ASCII):
            return False
        try:
            year = date.fromisoformat(part).year
        except ValueError:
            return False
        if not 1769 <= year <= 1821:
            return False
    return True


def keywords_multiple(text: str, keyword1: str, keyword2: str, keyword3: str, keyword4: str, keyword5: str) -> bool:
    """Five keywords once, twice, three, five and seven times."""
    keywords = (keyword1, keyword2, keyword3, keyword4, keyword5)
    return all(_occurrences(word.strip(), text) == count for word, count in zip(keywords, (1, 2, 3, 5, 7), strict=True))


def _words(text: str) -> list[str]:
    return [token.lower() for token in tokens(text) if any(char.isalnum() for char in token)]


def keywords_specific_position(text: str, keyword: str, n: int, m: int) -> bool:
    """A keyword is the m-th word of the n-th sentence."""
    found = split_sentences(text)
    words = _words(found[n - 1]) if 0 < n <= len(found) else []
    return 0 < m <= len(words) and words[m - 1] == keyword.strip().lower()


def words_position(text: str, keyword: str) -> bool:
    """A keyword is the second word and the last but one."""
    words = _words(text)
    return len(words) > 1 and words[1] == words[-2] == keyword.strip().lower()


def repeat_change(text: str, prompt_to_repeat: str) -> bool:
    """The request once more, with another first word."""
    return text != prompt_to_repeat and text.split()[1:] == prompt_to_repeat.split()[1:]


def repeat_simple(text: str) -> bool:
    """One given sentence."""
    return text.strip().lower() == _ONLY.lower()


def repeat_span(text: str, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The words of the request from one index to another."""
    return text.strip().lower() == " ".join(prompt_to_repeat.split()[n_start : n_end + 1]).lower()


def title_case(text: str) -> bool:
    """No word in small letters."""
    return not any(word[0].isalpha() and word[0].islower() and _one_case(word[1:]) for word in tokens(text) if word)


def _one_case(rest: str) -> bool:
    return not rest or rest.islower() or rest.isupper()


def output_template(text: str) -> bool:
    """Three given headings."""
    return all(heading in text for heading in ("My Answer:", "My Conclusion:", "Future Outlook:"))


def no_whitespace(text: str) -> bool:
    """No white space."""
    return not any(map(str.isspace, text))


CHECKS: Mapping[str, Check] = {
    "count:word_count_range": word_count_range,
    "count:unique_word_count": unique_word_count,
    "count:conjunctions": conjunctions,
    "count:person_names": person_names,
    "count:numbers": numbers,
    "count:punctuation": punctuation,
    "count:words_japanese": words_japanese,
    "count:pronouns": pronouns,
    "count:keywords_multiple": keywords_multiple,
    "ratio:stop_words": stop_words,
    "ratio:sentence_type": sentence_type,
    "ratio:sentence_balance": sentence_balance,
    "ratio:overlap": overlap,
    "ratio:sentence_words": sentence_words,
    "words:alphabet": alphabet,
    "words:start_verb": begins_with_verb,
    "words:vowel": vowel,
    "words:consonants": consonants,
    "words:palindrome": palindrome,
    "words:prime_lengths": prime_lengths,
    "words:odd_even_syllables": odd_even_syllables,
    "words:repeats": repeats,
    "words:last_first": last_first,
    "words:paragraph_last_first": paragraph_last_first,
    "words:no_consecutive": no_consecutive,
    "words:keywords_specific_position": keywords_specific_position,
    "words:words_position": words_position,
    "sentence:alliteration_increment": alliteration_increment,
    "sentence:keyword": sentence_keyword,
    "sentence:increment": increment,
    "format:parentheses": parentheses,
    "format:quotes": quotes,
    "format:options": options,
    "format:newline": newline,
    "format:emoji": emoji,
    "format:line_indent": line_indent,
    "format:quote_unquote": quote_unquote,
    "format:list": special_list,
    "format:thesis": thesis,
    "format:sub-bullets": sub_bullets,
    "format:no_bullets_bullets": bullets_behind_sentences,
    "format:title_case": title_case,
    "format:output_template": output_template,
    "format:no_whitespace": no_whitespace,
    "custom:multiples": multiples,
    "custom:mcq_count_length": multiple_choice_length,
    "custom:reverse_newline": reverse_newline,
    "custom:word_reverse": word_reverse,
    "custom:character_reverse": character_reverse,
    "custom:sentence_alphabet": sentence_alphabet,
    "custom:european_capitals_sort": european_capitals,
    "custom:csv_city": csv_city,
    "custom:csv_special_character": csv_special_character,
    "custom:csv_quotes": csv_quotes,
    "custom:date_format_list": date_format_list,
    "repeat:repeat_change": repeat_change,
    "repeat:repeat_simple": repeat_simple,
    "repeat:repeat_span": repeat_span,
}
"""By the instruction's own name."""
