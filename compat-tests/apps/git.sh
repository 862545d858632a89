# shellcheck shell=bash
# git: pack-objects, index-pack and grep with threads, on a repository made here.
needs git git || return 1
commits=$(pick 30 300)
identity=(-c user.name=a -c user.email=a@b -c init.defaultBranch=m -c gc.auto=0
    -c core.fsyncMethod=batch)
make_repo()
{
    local i k
    export GIT_AUTHOR_DATE='1000000000 +0000' GIT_COMMITTER_DATE='1000000000 +0000'
    git "${identity[@]}" init -q "$1" && cd "$1" || return
    for i in $(seq 1 "$commits"); do
        for k in 1 2 3 4 5 6 7 8; do
            tail -c +$((i * 3000 + k * 977)) "$IN/text2" | head -c 40000 > "file$k"
        done
        cp file1 "copy$i"
        git add . && git "${identity[@]}" commit -q -m "commit $i" || return
    done
}
copy_repo()
{
    cp -r "$IN/repo" repo
}
input text2 2
[ -d "$IN/repo" ] || (make_repo "$IN/repo") || return 1
# Thin and full packs differ between runs with threads, natively too; what is in them not.
step -b copy_repo "git repack, 8 threads" sh -c "cd repo &&
    git -c pack.threads=8 repack -q -a -d -f --window=20 && git fsck --full 2>&1 &&
    git rev-list --objects --all | sort | sha256sum"
git -C "$IN/repo" -c pack.threads=1 pack-objects --all --stdout < /dev/null \
    > "$IN/pack" 2> /dev/null
step "git index-pack, 8 threads" sh -c "git init -q x && cd x &&
    git index-pack --threads=8 --stdin < $IN/pack && sha256sum .git/objects/pack/*.idx"
step "git grep, 8 threads" git -C "$IN/repo" grep --threads 8 -c -e '[aeiou]b' -e 'x.y'
step -b copy_repo "git status, preload threads" env GIT_TEST_PRELOAD_INDEX=1 \
    git -C repo status --porcelain --ignored
