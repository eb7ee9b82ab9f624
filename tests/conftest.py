"""Its being here lets every test import `tiny_models`, the small real models and tokenizers beside it."""
