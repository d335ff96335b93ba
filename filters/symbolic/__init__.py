"""One core of mathematics for answers, which are read strictly and whole, and for claims, which stand in prose.

    notation         signs and words, their spellings; `clean` for answers, `tokenize` for prose
    units            what units measure and how large they are; money, percent, times of day, bases
    expressions      the tree of an expression, and its exact value
    grammar          an answer's text to a tree: all of it, or an error
    prose_grammar    the longest expression at a place of a step; what is unknown there has no value
    prose_operands   its numerals, commands and phrases in words
    values           whether two values are the same: exactly, with their units, or to many digits
    answer_forms, answer_parser, equality   answers taken apart, and whether two are the same
    gold_forms       whether an answer is the gold one, in forms too that only a known gold makes plain

The two grammars make the same trees. They stay apart since they ask opposite questions: an answer must be read whole,
letter by letter, or not at all; prose goes on anywhere, and blanks, borders of formulas and units decide where.
"""
