"""Reports: from records to tables, figures and pages; nothing here imports torch."""
