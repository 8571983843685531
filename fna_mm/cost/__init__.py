from mmengine.registry import TASK_UTILS

from fna_mm.cost.block_table import BlockTable
from fna_mm.cost.cost_loss import MAddsCost, TableCost, expected_cost
from fna_mm.cost.madds import CostTable, madds_table

for _cost in (MAddsCost, TableCost):
    TASK_UTILS.register_module(module=_cost, force=True)

__all__ = ['BlockTable', 'CostTable', 'MAddsCost', 'TableCost', 'expected_cost', 'madds_table']
