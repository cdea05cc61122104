# shellcheck shell=sh
# lib_db.sh: what tests look into databases with; a test reads it behind lib.sh. Complaints go to the
# file err.

sql() { sqlite3 -cmd '.timeout 5000' -bail "$1" "$2"; }

# is SQL WANTED DB
is() {
    is_got=$(sql "$3" "$1")
    [ "$is_got" = "$2" ] || { echo "$1: $is_got, not $2" >>err; return 1; }
}

# views DB: every row of what was computed, times and dates apart. The weights of a load are sums of
# many, whose order may be another.
views() {
    sql "$1" "SELECT cell_id, sweep, model, router, mode, k, min, max, params, train, task, seed, device, dtype,
            status, error, note FROM v_cells ORDER BY 1;
        SELECT * FROM v_metrics ORDER BY 1, 2; SELECT * FROM v_samples ORDER BY 1, 2;
        SELECT * FROM v_tokens ORDER BY 1, 2, 3; SELECT * FROM v_entropy_bins ORDER BY 1, 2, 3;
        SELECT cell_id, layer, expert, tokens, round(weight, 9) FROM v_expert_load ORDER BY 1, 2, 3;
        SELECT training_id, sweep, model, label, settings FROM v_trainings ORDER BY 1;
        SELECT training_id, step, tokens, loss, lr, grad_norm, experts FROM v_training_steps ORDER BY 1, 2;
        SELECT * FROM v_training_heldout ORDER BY 1, 2, 3;
        SELECT * FROM v_sources ORDER BY 1, 2, 3; SELECT * FROM v_token_experts ORDER BY 1, 2;
        SELECT * FROM v_overlap ORDER BY 1, 2, 3, 4; SELECT * FROM v_position_bins ORDER BY 1, 2;
        SELECT * FROM v_token_kinds ORDER BY 1, 2"
}

# kept DB: the rows of samples; one that was lost, or written again, is another row.
kept() { sql "$1" 'SELECT s.rowid, c.id, s.doc FROM sample s JOIN cell c ON c.n = s.cell' | sort; }

# wait_for DB SQL: until it is true.
wait_for() {
    wait_for_n=0
    while [ "$wait_for_n" -lt 1200 ] && [ "$(sqlite3 "$1" "$2" 2>/dev/null)" != 1 ]; do
        wait_for_n=$((wait_for_n + 1))
        sleep 0.01
    done
    [ "$wait_for_n" -lt 1200 ] || { echo "waited in vain for $2" >>err; return 1; }
}
