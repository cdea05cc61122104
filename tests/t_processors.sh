#!/bin/sh
# The products of every kind of processor: the tests of the operators, the model and the decoder
# with each form of them that runs here. TAP on stdout.
set -u
# shellcheck source=tests/lib.sh
. "$(dirname "$0")/lib.sh"
build=$(dirname "$seqtopk")
cd "$root" || exit 1

# The form that is asked for is the one that runs, or this processor does not have it.
passes() { # FORM TEST
    SEQTOPK_PROCESSOR=$1 CMOCKA_MESSAGE_OUTPUT=TAP SEQTOPK_SKIPS='' "$build/$2" >"$trash/out" 2>"$trash/err" &&
        ! grep -q '^not ok' "$trash/out" && grep -q '^ok' "$trash/out"
}
for form in AVX2 plain; do
    if SEQTOPK_PROCESSOR=$form "$seqtopk" doctor 2>/dev/null | grep -q "products .*for $form"; then
        for test in test_torch test_model test_decoder; do
            if [ "$form $test" != "plain test_decoder" ]; then
                check "$test with the products for $form" passes "$form" "$test"
            fi
        done
    else
        skip "products for $form" "this processor has none of them"
    fi
done

plan
