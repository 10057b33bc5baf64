"""From maps to tables: scoring, gaze agreement, randomization, faithfulness, robustness, narration."""
