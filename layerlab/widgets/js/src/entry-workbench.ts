// Widgets with an editor.
import { type AnyContext, type Ended, shows } from "./model.ts";
import { renderWhatIf } from "./whatif.ts";
import { renderWorkbench } from "./workbench.ts";

function render(context: AnyContext): Ended | undefined {
  if (shows(context, "workbench")) return renderWorkbench(context);
  if (shows(context, "whatif")) return renderWhatIf(context);
  return undefined;
}

export default { render };
