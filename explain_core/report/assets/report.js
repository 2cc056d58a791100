// Puts the stage into a report, and other outputs in its place.
{
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = document.getElementById("place");
  const label = document.querySelector(".which");
  const choice = label.querySelector("select");
  const show = (index) =>
    mount({
      data: { ...data.scenes[index], theme: data.theme, colours: data.colours },
      parentElement: place,
      setStateValue() {},
      setTriggerValue() {},
    });
  data.names.forEach((name, index) => {
    const option = document.createElement("option");
    option.value = index;
    option.textContent = name;
    choice.append(option);
  });
  choice.addEventListener("change", () => show(Number(choice.value)));
  label.hidden = data.names.length < 2;
  show(0);
  document.documentElement.classList.add("alive");
}
