# The search whose architecture found.py fine-tunes.
_base_ = './_base_/search_{{$FNA_COMPARISON_SIZE:small}}.py'
