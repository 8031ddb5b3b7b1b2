// Shows in JupyterLab what the session has to say, and saves what is open: on an event of lib/compute_node/notice.py.
// It is what webpack makes of an extension (module federation), written by hand: nothing has to be built. Seen working in
// JupyterLab 4.5 and 4.6.
(window._JUPYTERLAB = window._JUPYTERLAB || {})["passerelle-notice"] = {
  init: () => {},
  get: () => Promise.resolve(() => ({
    __esModule: true,
    default: {
      id: "passerelle-notice:plugin",
      autoStart: true,
      activate: app => {
        const shown = {};
        app.serviceManager.events.stream.connect(async (_, event) => {
          if (event.schema_id !== "urn:passerelle:notice") return;
          if (event.save) app.commands.execute("docmanager:save-all");
          const before = shown[event.name];
          shown[event.name] = event.message && app.commands.execute("apputils:notify", { message: event.message, type: "warning", options: { autoClose: false } });
          if (before) app.commands.execute("apputils:dismiss-notification", { id: await before });
        });
      },
    },
  })),
};
