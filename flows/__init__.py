"""What ties it together: the recipe, the Prefect flow, the console script."""
