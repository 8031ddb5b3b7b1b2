// A message that somebody pastes into the search box has signs in it that are a language of their own to the search
// ("settings.yml:9:" would be a field's name), which then finds nothing.
document.addEventListener(
  "input",
  ({ target }) => {
    if (target.matches("[data-md-component=search-query]") && /[:^~*+"“”«»]/.test(target.value)) {
      target.value = target.value.replace(/[:^~*+"“”«»]/g, " ");
    }
  },
  true,
);
