# shellcheck shell=bash
# OCaml: threads that hand on one master lock, natively compiled and as byte code.
needs ocamlopt ocaml-nox || return 1
if [ ! -x "$APPS_BIN/ocaml_bytes" ]; then
    # The compilers leave their intermediate files beside the source.
    cp "$APPS_DIR/ocaml_threads.ml" "$APPS_BIN" &&
        ocamlopt -I +threads unix.cmxa threads.cmxa -o "$APPS_BIN/ocaml_native" \
            "$APPS_BIN/ocaml_threads.ml" &&
        ocamlc -I +threads unix.cma threads.cma -o "$APPS_BIN/ocaml_bytes" \
            "$APPS_BIN/ocaml_threads.ml" || return 1
fi
step "OCaml, compiled" "$APPS_BIN/ocaml_native" "$(pick 200 2000)"
step "OCaml, byte code" "$APPS_BIN/ocaml_bytes" "$(pick 200 2000)"
