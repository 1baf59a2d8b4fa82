// Record the sound as it is: noise suppression and automatic gain would change the voice and hide clipping.
const devices = navigator.mediaDevices;
if (devices) {
  const open = devices.getUserMedia.bind(devices);
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  devices.getUserMedia = ({ audio, ...others }) => {
    const is_here = element.offsetParent !== null; // other tabs of the page keep their settings
    return open({ ...others, audio: audio && is_here ? { ...(audio === true ? {} : audio), ...raw } : audio });
  };
}
