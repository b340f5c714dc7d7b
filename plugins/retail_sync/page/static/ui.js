/** The one place that knows where the library lies. */
export {
  Component,
  html,
  render,
  useEffect,
  useErrorBoundary,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "./vendor/htm-preact-3.1.1.module.js";
