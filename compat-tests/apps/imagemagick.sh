# shellcheck shell=bash
# ImageMagick: pixel loops over OpenMP, a thread-local cache view each.
needs convert imagemagick || return 1
size=$(pick 500 1500)
step -t 300 "ImageMagick, 8 threads" env OMP_NUM_THREADS=8 MAGICK_THREAD_LIMIT=8 convert \
    -size "${size}x$size" gradient:red-blue -swirl 180 -blur 0x6 -resize 130% -rotate 30 \
    -unsharp 0x3 -colorspace LAB -normalize -colorspace sRGB -format '%# %w %h' info:
