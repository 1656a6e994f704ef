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
      show3Dcrosshair: true,
      crosshairWidth: 0.2,
      crosshairColor: [1, 0.8, 0.2, 0.7],
      backColor: [0, 0, 0, 1],
      dragAndDropEnabled: false,
    });
    await viewer.attachTo("volume-canvas");
    const opened = (base64, name, more) => niivue.NVImage.loadFromBase64({ base64, name, ...more });
    viewer.addVolume(await opened(data.image, "image.nii.gz", { colormap: "gray" }));
    const part = (start) => data.colours.map((colour) => parseInt(colour.slice(start, start + 2), 16));
    const mask = await opened(data.mask, "prediction.nii.gz", { opacity: 0.6 });
    mask.setColormapLabel({
      R: [0, ...part(1)], G: [0, ...part(3)], B: [0, ...part(5)],
      A: [0, ...data.values.map(() => 255)], I: [0, ...data.values], labels: ["", ...data.names],
    });
    viewer.addVolume(mask);
    viewer.setSliceType(viewer.sliceTypeMultiplanar);
    viewer.scene.crosshairPos = viewer.mm2frac(data.centre);
    viewer.drawScene();
    document.getElementById("volume-view").addEventListener("change", (event) => viewer.setSliceType(Number(event.target.value)));
    document.getElementById("volume-strength").addEventListener("input", (event) => viewer.setOpacity(1, event.target.value / 100));
    viewer.onLocationChange = (place) => { state.textContent = place.string; };
    state.textContent = "R and L are the patient's right and left. Click to move, drag to change the window, scroll through slices.";
  } catch (error) {
    state.textContent = "NiiVue could not open the volume in this browser (it needs WebGL 2): " + error;
  }
})();
