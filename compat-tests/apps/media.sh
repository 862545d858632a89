# shellcheck shell=bash
# ffmpeg (a thread per filter, decoder slice and encoder frame) and x264. With the number of
# threads given, their output is the same every time.
needs ffmpeg ffmpeg || return 1
needs x264 x264 || return 1
frames=$(pick 60 600)
video="testsrc2=size=320x240:rate=30"
step -t 300 "ffmpeg, x264, 4 threads" ffmpeg -v error -nostdin -threads 4 \
    -filter_threads 4 -f lavfi -i "$video" -frames:v "$frames" -c:v libx264 -threads 4 \
    -preset fast -f md5 -
[ -f "$IN/video.y4m" ] || ffmpeg -v error -nostdin -f lavfi -i "$video" \
    -frames:v "$frames" -pix_fmt yuv420p "$IN/video.y4m" || return 1
step -t 300 -k video.264 "x264 --threads 6" x264 --quiet --threads 6 --lookahead-threads 2 \
    --preset fast -o /dev/stdout --muxer raw "$IN/video.y4m"
step -t 300 "ffmpeg, decode with 6 threads" ffmpeg -v error -nostdin -threads 6 \
    -f h264 -i "$IN/video.264" -f md5 -
step -t 300 "x264, sliced threads" x264 --quiet --threads 4 --sliced-threads \
    --preset fast -o /dev/stdout --muxer raw "$IN/video.y4m"
