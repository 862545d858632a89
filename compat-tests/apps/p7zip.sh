# shellcheck shell=bash
# 7z: threads for matching and coding, blocks of bzip2, and its own events on conditions.
needs 7z p7zip-full || return 1
mb=$(pick 2 16)
input "text$mb" "$mb"
there_and_back()
{
    echo "7z a -bd -y -mmt=6 $1 $3 $2 '$IN/text$mb' > log && grep -c 'Everything is Ok' log &&
        7z t -mmt=6 $2 | grep -c 'Everything is Ok' && 7z e -so -mmt=6 $2 | sha256sum"
}
step "7z, LZMA2, 6 threads" sh -c "$(there_and_back -t7z x.7z -mx=3)"
step "7z, bzip2, 6 threads" sh -c "$(there_and_back -tbzip2 x.bz2 -mx=3)"
step "7z, zip, 6 threads" sh -c "$(there_and_back -tzip x.zip -mx=3)"
