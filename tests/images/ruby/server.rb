# Answers GET with what a test wants to know about this process.

require 'json'
require 'socket'

# Process 1 of a container gets only the signals it handles; without this every deletion takes 30 s.
trap('TERM') { exit!(0) }

server = TCPServer.new('0.0.0.0', Integer(ENV.fetch('PORT', '8080')))
loop do
  Thread.new(server.accept) do |client|
    path = client.gets.to_s.split[1]
    nil while (line = client.gets) && line != "\r\n"
    answer = {
      image: 'ruby', version: RUBY_VERSION, uid: Process.uid, gid: Process.gid, path: path, env: ENV.keys.sort
    }
    body = "#{JSON.generate(answer)}\n"
    client.write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}")
  rescue SystemCallError, IOError
    # the client went away
  ensure
    client.close
  end
end
