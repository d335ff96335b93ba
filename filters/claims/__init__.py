"""Exact checks of a trace's intermediate claims: read by the grammar for prose of `symbolic`, never evaluated as code.

`check.check_trace` cuts a trace into steps and returns what it claims; the way of a step through the package:

    relations               the chains `a = b = c` of a step, in signs or words, and where their sides begin and end
    judging                 each link of a chain: a sum, a comparison, a congruence, a function's value, or `algebra`
    comparison              whether two values agree: rounding, and the other ways to read what does not hold
    false_positive_guards   why a link that does not hold may still be no error
    problem_context         what the problem gives: residues, bases, functions, values that may be used
    whole_trace             assignments held against a puzzle's constraints; outputs of code, run in the jail if at all

A new way of writing that is refuted wrongly belongs into `false_positive_guards` or the grammar, with a line in
`tests/filters/claims_right.txt`; one that hides an error, with a line in `claims_wrong.txt`.
"""
