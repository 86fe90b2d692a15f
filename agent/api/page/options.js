// The drawer with the chat's options, and the two choices below the message.

import { byId } from "./element.js";

const OWN = "the model’s own";

/** Shows what `talk` (a `Conversation`) has, and keeps what is changed in it. */
export function startOptions(talk) {
  const keep = (changes) => {
    Object.assign(talk, changes);
    talk.save();
  };
  const slider = byId("temperature");
  const show = () => {
    const text = slider.value < 0 ? OWN : Number(slider.value).toFixed(1);
    byId("temperature-value").textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  byId("system").value = talk.system;
  slider.value = talk.temperature ?? slider.min;
  byId("max-tokens").value = talk.maxTokens ?? "";
  show();
  slider.addEventListener("input", () => {
    show();
    keep({ temperature: slider.value < 0 ? null : Number(slider.value) });
  });
  byId("system").addEventListener("input", ({ target }) => keep({ system: target.value }));
  byId("max-tokens").addEventListener("input", ({ target }) => {
    const count = Math.floor(target.valueAsNumber);
    keep({ maxTokens: count >= 1 ? count : null });
  });
  byId("model").addEventListener("change", ({ target }) => keep({ model: target.value }));
  byId("sources").addEventListener("change", ({ target }) => keep({ sources: target.value }));
  byId("options-button").addEventListener("click", () => byId("options").showModal());
}
