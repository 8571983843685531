from mmengine.registry import TASK_UTILS

from fna_mm.cost.cost_loss import MAddsCost, expected_cost
from fna_mm.cost.madds import CostTable, madds_table

TASK_UTILS.register_module(module=MAddsCost, force=True)

__all__ = ['CostTable', 'MAddsCost', 'expected_cost', 'madds_table']
