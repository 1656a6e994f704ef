"use strict";
(async () => {
  const data = JSON.parse(document.getElementById("volume-data").textContent);
  const state = document.getElementById("volume-state");
  try {
    const viewer = new niivue.Niivue({
      isRadiologicalConvention: true,
      isOrientCube: true,
      isCornerOrientationText: false,
      sagittalNoseLeft: true,
      showAllOrientationMarkers: true,
      fontMinPx: 16,
      fontColor: [1, 0.8, 0.2, 1],
      // a grid, always with the rendering
      multiplanarLayout: 2,
      multiplanarShowRender: 1,
      multiplanarPadPixels: 12,
      show3Dcrosshair: true,
      crosshairWidth: 0.2,
      crosshairColor: [1, 0.8, 0.2, 0.7],
      backColor: [0, 0, 0, 1],
      dragAndDropEnabled: false,
    });
    await viewer.attachTo("volume-canvas");
    const opened = (base64, name, more) => niivue.NVImage.loadFromBase64({ base64, name, ...more });
    // the window of the slices; the values here are grey levels, no intensities
    viewer.addVolume(await opened(data.image, "image.nii.gz", { colormap: "gray", cal_min: 0, cal_max: 255 }));
    const part = (start) => data.colours.map((colour) => parseInt(colour.slice(start, start + 2), 16));
    const mask = await opened(data.mask, "prediction.nii.gz", { opacity: 0.6 });
    mask.setColormapLabel({
      R: [0, ...part(1)], G: [0, ...part(3)], B: [0, ...part(5)],
      A: [0, ...data.values.map(() => 255)], I: [0, ...data.values], labels: ["", ...data.names],
    });
    viewer.addVolume(mask);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    // mm of the patient also where the volume lies aslant, not of the upright box it is drawn in
    viewer.scene.crosshairPos = viewer.mm2frac(data.centre, 0, true);
    viewer.drawScene();
    document.getElementById("volume-view").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
    document.getElementById("volume-strength").addEventListener("input", (event) => viewer.setOpacity(1, event.target.value / 100));
    viewer.onLocationChange = (place) => {
      const mm = [...place.mm].slice(0, 3).map((part) => part.toFixed(1)).join(", ");
      const name = data.names[data.values.indexOf(place.values[1].value)];
      state.textContent = `${mm} mm towards the patient's right, front and top` + (name ? `: ${name}` : "");
    };
    state.textContent = "R and L are the patient's right and left. Click to move, drag with the right button to change the window, scroll through slices.";
  } catch (error) {
    state.textContent = "NiiVue could not open the volume in this browser (it needs WebGL 2): " + error;
  }
})();
